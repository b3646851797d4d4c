/* The world `policy` of secretctl:guard@0.1.0 for C without a C library.
 *
 * A module includes this file once and defines `guard_configure` and `guard_decide`. It is built by
 *     clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry -o MODULE.wasm MODULE.c
 * and `secretctl policy add` makes a component of it. Built for another machine, the same file serves tests.
 *
 * What the fields mean stands in the interface, `policy.wit`. The structures are its records as the canonical ABI lays them out in
 * memory. Texts are UTF-8 and end where their length says, not with a zero. The host makes a fresh instance for each request, so
 * nothing that is allocated is ever freed. A trap, `__builtin_trap()`, is a no.
 */
#ifndef SECRETCTL_GUARD_H
#define SECRETCTL_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct { const char *bytes; size_t length; } guard_text;
typedef struct { const guard_text *items; size_t count; } guard_texts;
typedef struct { bool is_some; guard_text value; } guard_optional_text;
typedef struct { bool is_some; uint64_t value; } guard_optional_u64;

enum { GUARD_REFERENCE, GUARD_MASKED, GUARD_INJECT };
enum { GUARD_NETWORK_ALLOW, GUARD_NETWORK_NONE };
enum { GUARD_WORKDIR_TEMPORARY, GUARD_WORKDIR_PROJECT };
enum { GUARD_ALLOW, GUARD_ASK, GUARD_DENY };

typedef struct { guard_text name; bool named; guard_texts tags; } guard_key;
typedef struct { const guard_key *items; size_t count; } guard_keys;
typedef struct { guard_text requested; guard_optional_text path; guard_texts aliases; } guard_program;
typedef struct { const guard_program *items; size_t count; } guard_programs;
typedef struct { guard_program program; guard_texts arguments; guard_programs mentioned; } guard_command;
typedef struct { bool is_some; guard_command value; } guard_optional_command;
typedef struct { uint64_t unix_seconds; int32_t utc_offset_minutes; } guard_moment;

typedef struct {
    uint8_t purpose;
    guard_text agent;
    guard_keys keys;
    guard_optional_command command;
    guard_optional_text directory;
    guard_optional_u64 timeout_ms;
    guard_moment time;
} guard_request;

typedef struct {
    guard_texts keys;
    uint64_t timeout_ms;
    uint64_t output_bytes;
    uint8_t network;
    uint8_t workdir;
    bool expand_arguments;
    guard_text rule;
} guard_grant;

typedef struct { guard_text text; guard_grant grant; } guard_question;
typedef struct { guard_text rule, reason, remedy; } guard_denial;

typedef struct {
    uint8_t tag;
    union { guard_grant allow; guard_question ask; guard_denial deny; } value;
} guard_decision;

typedef struct { guard_text path, message; } guard_problem;
typedef struct { const guard_problem *items; size_t count; } guard_problems;

/* What a module defines. No problem means that the document, JSON, is accepted. */
guard_problems guard_configure(guard_text document);
guard_decision guard_decide(const guard_request *request);

/* A text that the program contains: GUARD_TEXT("like this"). */
#define GUARD_TEXT(literal) ((guard_text){(literal), sizeof(literal) - 1})

#ifdef __wasm32__
/* Copying a structure may become a call of one of these, and there is no library that has them. */
__attribute__((weak, no_builtin("memcpy"))) void *memcpy(void *to, const void *from, size_t count) {
    for (size_t i = 0; i < count; i++) ((char *)to)[i] = ((const char *)from)[i];
    return to;
}

__attribute__((weak, no_builtin("memset"))) void *memset(void *to, int byte, size_t count) {
    for (size_t i = 0; i < count; i++) ((char *)to)[i] = (char)byte;
    return to;
}

/* The linker's name for the place where free memory begins. */
extern unsigned char __heap_base;

/* Memory that is never freed; `alignment` is a power of two. */
static void *guard_allocate(size_t size, size_t alignment) {
    static uintptr_t next;
    const uint64_t page = 65536;
    if (next == 0) next = (uintptr_t)&__heap_base;
    uint64_t start = ((uint64_t)next + alignment - 1) & ~((uint64_t)alignment - 1);
    uint64_t end = start + size;
    uint64_t held = __builtin_wasm_memory_size(0) * page;
    if (end > UINT32_MAX) __builtin_trap();
    if (end > held && __builtin_wasm_memory_grow(0, (size_t)((end - held + page - 1) / page)) == SIZE_MAX) __builtin_trap();
    next = (uintptr_t)end;
    return (void *)(uintptr_t)start;
}

/* How the host gets room for what it passes. */
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t alignment, size_t size) {
    void *memory = guard_allocate(size, alignment);
    if (old_size > 0) memcpy(memory, old, old_size < size ? old_size : size);
    return memory;
}
#else
#include <stdlib.h>

static void *guard_allocate(size_t size, size_t alignment) {
    (void)alignment;
    void *memory = malloc(size > 0 ? size : 1);
    if (memory == NULL) abort();
    return memory;
}
#endif

/* All keys of the request and no limit. */
static inline guard_grant guard_everything(const guard_request *request) {
    guard_text *names = guard_allocate(request->keys.count * sizeof *names, _Alignof(guard_text));
    for (size_t i = 0; i < request->keys.count; i++) names[i] = request->keys.items[i].name;
    return (guard_grant){
        .keys = {names, request->keys.count},
        .timeout_ms = UINT64_MAX,
        .output_bytes = UINT64_MAX,
        .network = GUARD_NETWORK_ALLOW,
        .workdir = GUARD_WORKDIR_PROJECT,
        .expand_arguments = true,
        .rule = GUARD_TEXT(""),
    };
}

/* A yes that tightens nothing. */
static inline guard_decision guard_allow(const guard_request *request) {
    return (guard_decision){.tag = GUARD_ALLOW, .value.allow = guard_everything(request)};
}

static inline guard_decision guard_deny(guard_text rule, guard_text reason, guard_text remedy) {
    return (guard_decision){.tag = GUARD_DENY, .value.deny = {.rule = rule, .reason = reason, .remedy = remedy}};
}

/* The document is accepted. */
static inline guard_problems guard_no_problem(void) {
    return (guard_problems){NULL, 0};
}

/* The document is refused. `path` is the place in it, such as `days[2]`; empty for all of it. */
static inline guard_problems guard_one_problem(guard_text path, guard_text message) {
    guard_problem *problem = guard_allocate(sizeof *problem, _Alignof(guard_problem));
    *problem = (guard_problem){.path = path, .message = message};
    return (guard_problems){problem, 1};
}

#ifdef __wasm32__
__attribute__((export_name("secretctl:guard/decisions@0.1.0#configure"))) const guard_problems *guard_export_configure(const char *bytes, size_t length) {
    static guard_problems problems;
    problems = guard_configure((guard_text){bytes, length});
    return &problems;
}

__attribute__((export_name("secretctl:guard/decisions@0.1.0#decide"))) const guard_decision *guard_export_decide(const guard_request *request) {
    static guard_decision decision;
    decision = guard_decide(request);
    return &decision;
}

/* The layout of the interface. A field that moved would be read as another one. */
#define GUARD_AT(type, field, offset) _Static_assert(offsetof(type, field) == (offset), #type "." #field)
#define GUARD_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type)
GUARD_SIZE(guard_text, 8);
GUARD_SIZE(guard_optional_text, 12);
GUARD_AT(guard_key, named, 8);
GUARD_AT(guard_key, tags, 12);
GUARD_SIZE(guard_key, 20);
GUARD_AT(guard_program, path, 8);
GUARD_AT(guard_program, aliases, 20);
GUARD_AT(guard_command, arguments, 28);
GUARD_AT(guard_command, mentioned, 36);
GUARD_SIZE(guard_command, 44);
GUARD_AT(guard_request, agent, 4);
GUARD_AT(guard_request, keys, 12);
GUARD_AT(guard_request, command, 20);
GUARD_AT(guard_request, directory, 68);
GUARD_AT(guard_request, timeout_ms, 80);
GUARD_AT(guard_request, time, 96);
GUARD_AT(guard_moment, utc_offset_minutes, 8);
GUARD_SIZE(guard_request, 112);
GUARD_AT(guard_grant, timeout_ms, 8);
GUARD_AT(guard_grant, output_bytes, 16);
GUARD_AT(guard_grant, network, 24);
GUARD_AT(guard_grant, workdir, 25);
GUARD_AT(guard_grant, expand_arguments, 26);
GUARD_AT(guard_grant, rule, 28);
GUARD_SIZE(guard_grant, 40);
GUARD_AT(guard_question, grant, 8);
GUARD_AT(guard_decision, value, 8);
GUARD_SIZE(guard_decision, 56);
GUARD_SIZE(guard_problem, 16);
#endif

#endif
