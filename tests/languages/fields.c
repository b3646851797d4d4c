/* Says what it was asked, field by field, and grants what no other module grants: whether `guard.h` has the layout of the interface. */
#include "guard.h"

static char said[4096];
static size_t length;

static void say_bytes(const char *bytes, size_t count) {
    for (size_t i = 0; i < count && length < sizeof said; i++) said[length++] = bytes[i];
}

static void say(guard_text text) {
    say_bytes(text.bytes, text.length);
}

static void say_field(const char *name) {
    size_t count = 0;
    while (name[count] != 0) count++;
    say_bytes(name, count);
}

static void say_number(uint64_t number) {
    char digits[20];
    size_t at = sizeof digits;
    do digits[--at] = (char)('0' + number % 10); while ((number /= 10) > 0);
    say_bytes(digits + at, sizeof digits - at);
}

static void say_texts(guard_texts texts) {
    say_field("[");
    for (size_t i = 0; i < texts.count; i++) {
        say_field("<");
        say(texts.items[i]);
        say_field(">");
    }
    say_field("]");
}

static void say_optional(guard_optional_text text) {
    if (text.is_some) say(text.value);
    else say_field("none");
}

static void say_program(const guard_program *program) {
    say_field("\nrequested ");
    say(program->requested);
    say_field("\npath ");
    say_optional(program->path);
    say_field("\naliases ");
    say_texts(program->aliases);
}

static void say_command(const guard_optional_command *command) {
    if (!command->is_some) {
        say_field("\ncommand none");
        return;
    }
    say_program(&command->value.program);
    say_field("\narguments ");
    say_texts(command->value.arguments);
    for (size_t i = 0; i < command->value.mentioned.count; i++) {
        say_field("\nmentioned");
        say_program(&command->value.mentioned.items[i]);
    }
}

static void say_request(const guard_request *request) {
    say_field("purpose ");
    say_number(request->purpose);
    say_field("\nagent ");
    say(request->agent);
    for (size_t i = 0; i < request->keys.count; i++) {
        const guard_key *key = &request->keys.items[i];
        say_field("\nkey ");
        say(key->name);
        say_field(key->named ? " named " : " found ");
        say_texts(key->tags);
    }
    say_command(&request->command);
    say_field("\ndirectory ");
    say_optional(request->directory);
    say_field("\ntimeout ");
    if (request->timeout_ms.is_some) say_number(request->timeout_ms.value);
    else say_field("none");
    say_field("\ntime ");
    say_number(request->time.unix_seconds);
    say_field(request->time.utc_offset_minutes < 0 ? " -" : " +");
    int64_t offset = request->time.utc_offset_minutes;
    say_number((uint64_t)(offset < 0 ? -offset : offset));
}

static guard_text document;

guard_problems guard_configure(guard_text text) {
    static const guard_problem problems[] = {
        {.path = {"a[0]", 4}, .message = {"first", 5}},
        {.path = {"b", 1}, .message = {"second", 6}},
    };
    document = text;
    return (guard_problems){problems, text.bytes[0] == '"' ? 2 : 0};
}

guard_decision guard_decide(const guard_request *request) {
    guard_grant grant = guard_everything(request);
    switch (document.bytes[0]) {
    case '1':
        grant.keys = (guard_texts){grant.keys.items + 1, 1};
        grant.timeout_ms = 0x100000001;
        grant.output_bytes = 0x200000002;
        grant.network = GUARD_NETWORK_NONE;
        grant.workdir = GUARD_WORKDIR_TEMPORARY;
        grant.rule = GUARD_TEXT("r\xc3\xbcle");
        return (guard_decision){.tag = GUARD_ALLOW, .value.allow = grant};
    case '2':
        grant.expand_arguments = false;
        return (guard_decision){.tag = GUARD_ASK, .value.ask = {GUARD_TEXT("really?"), grant}};
    default:
        say_request(request);
        return guard_deny(GUARD_TEXT("rule"), (guard_text){said, length}, document);
    }
}
