/* Preloaded into a program: ends it, or fills the disk, at one of its writes to files.
 *
 *   WRITES_LOG   file to which a line is appended for each write, with its kind
 *   WRITES_AT    number of the write, from 1, at which it happens; none to only count
 *   WRITES_HOW   kill: the process is killed before the write
 *                half: it is killed when half of the write is done
 *                full: this write fails for want of space, and so do all after it
 *
 * Writes are those to regular files (so not to pipes and terminals), and what changes directories and sizes. What goes
 * past the C library is not seen; SQLite and Rust's standard library do not.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum how { KILL, HALF, FULL };

static long at = -1;
static enum how how;
static int log_fd = -1;
static long count;

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("WRITES_LOG");
    if (text)
        log_fd = syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    text = getenv("WRITES_AT");
    if (text)
        at = atol(text);
    text = getenv("WRITES_HOW");
    how = !text || !strcmp(text, "kill") ? KILL : !strcmp(text, "half") ? HALF : FULL;
    /* The program's own children are left alone. */
    unsetenv("LD_PRELOAD");
}

static void die(void) {
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
}

/* Counts a write. True if it is to fail. */
static int counts(const char *kind) {
    long number = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    char line[64];
    int length = snprintf(line, sizeof line, "%s\n", kind);
    if (log_fd >= 0)
        syscall(SYS_write, log_fd, line, length);
    if (at < 0 || number < at)
        return 0;
    if (how == FULL)
        return 1;
    if (number == at && how == KILL)
        die();
    return 0;
}

static int is_half(void) {
    return how == HALF && __atomic_load_n(&count, __ATOMIC_SEQ_CST) == at;
}

static int is_file(int fd) {
    struct stat found;
    return fd != log_fd && fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
}

#define NEXT(name) __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define NO_SPACE return (errno = ENOSPC, -1)

ssize_t write(int fd, const void *bytes, size_t length) {
    NEXT(write);
    if (!is_file(fd))
        return next(fd, bytes, length);
    if (counts("write"))
        NO_SPACE;
    if (is_half()) {
        next(fd, bytes, length / 2);
        die();
    }
    return next(fd, bytes, length);
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    NEXT(writev);
    if (is_file(fd) && counts("writev"))
        NO_SPACE;
    return next(fd, parts, number);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    NEXT(pwrite);
    if (is_file(fd) && counts("pwrite"))
        NO_SPACE;
    if (is_file(fd) && is_half()) {
        next(fd, bytes, length / 2, offset);
        die();
    }
    return next(fd, bytes, length, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    NEXT(pwrite64);
    if (is_file(fd) && counts("pwrite64"))
        NO_SPACE;
    if (is_file(fd) && is_half()) {
        next(fd, bytes, length / 2, offset);
        die();
    }
    return next(fd, bytes, length, offset);
}

int ftruncate(int fd, off_t length) {
    NEXT(ftruncate);
    counts("ftruncate");
    return next(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    NEXT(ftruncate64);
    counts("ftruncate64");
    return next(fd, length);
}

int posix_fallocate(int fd, off_t offset, off_t length) {
    NEXT(posix_fallocate);
    return counts("posix_fallocate") ? ENOSPC : next(fd, offset, length);
}

int fsync(int fd) {
    NEXT(fsync);
    counts("fsync");
    return next(fd);
}

int fdatasync(int fd) {
    NEXT(fdatasync);
    counts("fdatasync");
    return next(fd);
}

int rename(const char *from, const char *to) {
    NEXT(rename);
    if (counts("rename"))
        NO_SPACE;
    return next(from, to);
}

int link(const char *from, const char *to) {
    NEXT(link);
    if (counts("link"))
        NO_SPACE;
    return next(from, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    NEXT(linkat);
    if (counts("linkat"))
        NO_SPACE;
    return next(from_dir, from, to_dir, to, flags);
}

int unlink(const char *path) {
    NEXT(unlink);
    counts("unlink");
    return next(path);
}

int unlinkat(int dir, const char *path, int flags) {
    NEXT(unlinkat);
    counts("unlinkat");
    return next(dir, path, flags);
}

int mkdir(const char *path, mode_t mode) {
    NEXT(mkdir);
    if (counts("mkdir"))
        NO_SPACE;
    return next(path, mode);
}

/* Making a file is a write, opening it is not. */
#define OPEN(name, ...)                                             \
    if (flags & O_CREAT) {                                          \
        va_list rest;                                               \
        va_start(rest, flags);                                      \
        mode_t mode = va_arg(rest, mode_t);                         \
        va_end(rest);                                               \
        struct stat found;                                          \
        if (stat(path, &found) != 0 && path[0] == '/' && counts(#name)) \
            NO_SPACE;                                               \
        return next(__VA_ARGS__, flags, mode);                      \
    }                                                               \
    return next(__VA_ARGS__, flags)

int open(const char *path, int flags, ...) {
    NEXT(open);
    OPEN(open, path);
}

int open64(const char *path, int flags, ...) {
    NEXT(open64);
    OPEN(open64, path);
}
