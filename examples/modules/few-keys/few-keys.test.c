/* cc -o few-keys.test few-keys.test.c && ./few-keys.test */
#include "few-keys.c"

#undef NDEBUG
#include <assert.h>
#include <string.h>

static guard_text text(const char *bytes) {
    return (guard_text){bytes, strlen(bytes)};
}

static guard_decision decide(uint8_t purpose, size_t count) {
    static const guard_key keys[3] = {{.name = {"a", 1}}, {.name = {"b", 1}}, {.name = {"c", 1}}};
    guard_request request = {.purpose = purpose, .keys = {keys, count}};
    return guard_decide(&request);
}

static void a_command_with_more_keys_is_refused(void) {
    assert(guard_configure(text("2")).count == 0);
    assert(decide(GUARD_INJECT, 3).tag == GUARD_DENY);
    guard_decision two = decide(GUARD_INJECT, 2);
    assert(two.tag == GUARD_ALLOW && two.value.allow.keys.count == 2);
    assert(two.value.allow.keys.items[1].bytes[0] == 'b');
}

static void a_look_at_keys_is_no_command(void) {
    assert(guard_configure(text("0")).count == 0);
    assert(decide(GUARD_INJECT, 0).tag == GUARD_ALLOW);
    assert(decide(GUARD_INJECT, 1).tag == GUARD_DENY);
    assert(decide(GUARD_MASKED, 3).tag == GUARD_ALLOW);
}

static void what_is_no_number_is_a_problem(void) {
    const char *wrong[] = {"", "null", "-1", "1.5", "1000", "1 "};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert(guard_configure(text(wrong[i])).count == 1);
}

int main(void) {
    a_command_with_more_keys_is_refused();
    a_look_at_keys_is_no_command();
    what_is_no_number_is_a_problem();
}
