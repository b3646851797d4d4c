/* A policy module: a command gets at most so many keys.
 *
 * config: 3
 */
#include "guard.h"

enum { DIGITS_MAX = 3 };

static size_t most;

/* The number that a JSON document is; a negative one if it is something else. */
static int number(guard_text document) {
    if (document.length == 0 || document.length > DIGITS_MAX) return -1;
    int value = 0;
    for (size_t i = 0; i < document.length; i++) {
        char digit = document.bytes[i];
        if (digit < '0' || digit > '9') return -1;
        value = value * 10 + (digit - '0');
    }
    return value;
}

guard_problems guard_configure(guard_text document) {
    int value = number(document);
    if (value < 0) return guard_one_problem(GUARD_TEXT(""), GUARD_TEXT("should be a number from 0 to 999"));
    most = (size_t)value;
    return guard_no_problem();
}

guard_decision guard_decide(const guard_request *request) {
    if (request->purpose != GUARD_INJECT || request->keys.count <= most) return guard_allow(request);
    return guard_deny(
        GUARD_TEXT("few keys"),
        GUARD_TEXT("one command does not get so many keys"),
        GUARD_TEXT("raise the number in the configuration of this module"));
}
