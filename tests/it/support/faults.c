// Makes calls that write to files below one folder fail, as a disk would: loaded into the server with LD_PRELOAD, and told
// what to do through a file that the test shares with it.
//
// Every such call is counted. Those from number `from` up to and including number `until` are not carried out: they
// return `error`, or, if that is SHORT and the call writes bytes, write the half of them only.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define SHORT 10000

// Eight bytes each, then text: `support/faults.rs` reads and writes it by these offsets.
struct control {
    uint64_t calls;
    uint64_t from;
    uint64_t until;
    uint64_t error;
    uint64_t failed;
    char first[216];
};

static struct control *control;
static char folder[PATH_MAX];

__attribute__((constructor)) static void begin(void) {
    const char *shared = getenv("FAULTS_CONTROL"), *below = getenv("FAULTS_BELOW");
    if (!shared || !below || strlen(below) >= sizeof folder) return;
    strcpy(folder, below);
    int file = (int)syscall(SYS_openat, AT_FDCWD, shared, O_RDWR | O_CLOEXEC, 0);
    if (file < 0) return;
    void *memory = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory != MAP_FAILED) control = memory;
}

// The error that a call is to return, or 0.
static uint64_t fault(const char *call, const char *path) {
    if (!control || strncmp(path, folder, strlen(folder)) != 0) return 0;
    uint64_t number = __atomic_add_fetch(&control->calls, 1, __ATOMIC_SEQ_CST);
    if (number < __atomic_load_n(&control->from, __ATOMIC_SEQ_CST)) return 0;
    if (number > __atomic_load_n(&control->until, __ATOMIC_SEQ_CST)) return 0;
    if (__atomic_add_fetch(&control->failed, 1, __ATOMIC_SEQ_CST) == 1) {
        snprintf(control->first, sizeof control->first, "%s %s", call, path + strlen(folder));
    }
    return control->error;
}

static uint64_t fault_of_file(const char *call, int file) {
    char link[64], path[PATH_MAX];
    if (!control) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fault(call, path);
}

static int refuse(uint64_t error) {
    errno = error == SHORT ? EIO : (int)error;
    return -1;
}

// Refuses the call here if it is to fail.
#define CHECK(found)                       \
    do {                                   \
        uint64_t error = (found);          \
        if (error) return refuse(error);   \
    } while (0)

ssize_t write(int file, const void *bytes, size_t count) {
    uint64_t error = fault_of_file("write", file);
    if (error == SHORT && count > 1) count /= 2;
    else if (error) return refuse(error);
    return syscall(SYS_write, file, bytes, count);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    uint64_t error = fault_of_file("pwrite", file);
    if (error == SHORT && count > 1) count /= 2;
    else if (error) return refuse(error);
    return syscall(SYS_pwrite64, file, bytes, count, at);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) { return pwrite64(file, bytes, count, at); }

ssize_t writev(int file, const struct iovec *parts, int count) {
    CHECK(fault_of_file("writev", file));
    return syscall(SYS_writev, file, parts, count);
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t at) {
    CHECK(fault_of_file("pwritev", file));
    return syscall(SYS_pwritev, file, parts, count, at, 0L);
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) { return pwritev64(file, parts, count, at); }

int fsync(int file) {
    CHECK(fault_of_file("fsync", file));
    return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    CHECK(fault_of_file("fdatasync", file));
    return (int)syscall(SYS_fdatasync, file);
}

int ftruncate64(int file, off64_t length) {
    CHECK(fault_of_file("ftruncate", file));
    return (int)syscall(SYS_ftruncate, file, length);
}

int ftruncate(int file, off_t length) { return ftruncate64(file, length); }

int fallocate64(int file, int mode, off64_t offset, off64_t length) {
    CHECK(fault_of_file("fallocate", file));
    return (int)syscall(SYS_fallocate, file, mode, offset, length);
}

int fallocate(int file, int mode, off_t offset, off_t length) { return fallocate64(file, mode, offset, length); }

int rename(const char *from, const char *to) {
    CHECK(fault("rename", to));
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int at, const char *path, int flags) {
    CHECK(fault("unlink", path));
    return (int)syscall(SYS_unlinkat, at, path, flags);
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int mkdir(const char *path, mode_t mode) {
    CHECK(fault("mkdir", path));
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

// Only where a file is opened to be written.
static int open_file(int at, const char *path, int flags, mode_t mode) {
    if ((flags & O_CREAT) || (flags & O_ACCMODE) != O_RDONLY) CHECK(fault("open", path));
    return (int)syscall(SYS_openat, at, path, flags, mode);
}

#define OPEN(name)                                             \
    int name(const char *path, int flags, ...) {               \
        va_list rest;                                          \
        va_start(rest, flags);                                 \
        mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                          \
        return open_file(AT_FDCWD, path, flags, mode);         \
    }
#define OPENAT(name)                                           \
    int name(int at, const char *path, int flags, ...) {       \
        va_list rest;                                          \
        va_start(rest, flags);                                 \
        mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                          \
        return open_file(at, path, flags, mode);               \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
