/* Stands between the program and the C library, to make the disk fail and the calendar jump. The file that
   KENGELE_TEST_FAULTS names says what is wrong now: "full", "tight" (full until the reserve beside the database is gone),
   "readonly" or "flush" for databases, "narrow" for a disk that says that it is nearly full, "rot" for copies that are not
   what was written, and "clock N" for a
   calendar that is N seconds off. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static size_t wrong(char *words, size_t room) {
    const char *path = getenv("KENGELE_TEST_FAULTS");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    ssize_t length = read(file, words, room - 1);
    close(file);
    if (length < 0) length = 0;
    words[length] = 0;
    return (size_t)length;
}

static int has(const char *fault) {
    char words[256];
    int before = errno;
    int found = wrong(words, sizeof words) > 0 && strstr(words, fault) != NULL;
    errno = before;
    return found;
}

/* Returns where the name of the database ends in the path of an open file; NULL where it is another file. */
static char *database(int file, char *path, size_t room) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, room - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    char *name = strstr(path, "kengele.db");
    return name ? name + strlen("kengele.db") : NULL;
}

static int is_database(int file) {
    char path[4096];
    return database(file, path, sizeof path) != NULL;
}

static int has_reserve(int file) {
    char path[4096];
    char *end = database(file, path, sizeof path - 16);
    if (!end) return 0;
    strcpy(end, ".reserve");
    int before = errno, found = access(path, F_OK) == 0;
    errno = before;
    return found;
}

static int refuses(int file) {
    if (!is_database(file)) return 0;
    if (has("full") || (has("tight") && has_reserve(file))) return ENOSPC;
    if (has("readonly")) return EROFS;
    return 0;
}

static int rots(int file, off64_t at) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return at >= 4096 && strstr(path, ".part") && has("rot");
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    int error = refuses(file);
    if (error) { errno = error; return -1; }
    if (rots(file, at)) {
        char *rotten = malloc(count);
        memset(rotten, 0xa5, count);
        ssize_t result = real(file, rotten, count, at);
        free(rotten);
        return result;
    }
    return real(file, bytes, count, at);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) { return pwrite64(file, bytes, count, at); }

ssize_t write(int file, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    int error = refuses(file);
    if (error) { errno = error; return -1; }
    return real(file, bytes, count);
}

int ftruncate64(int file, off64_t length) {
    static int (*real)(int, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "ftruncate64");
    int error = refuses(file);
    if (error) { errno = error; return -1; }
    return real(file, length);
}

static int flush(int file, const char *name) {
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    if (is_database(file) && has("flush")) { errno = EIO; return -1; }
    return real(file);
}

int fsync(int file) { return flush(file, "fsync"); }
int fdatasync(int file) { return flush(file, "fdatasync"); }

int statvfs64(const char *path, struct statvfs64 *room) {
    static int (*real)(const char *, struct statvfs64 *);
    if (!real) real = dlsym(RTLD_NEXT, "statvfs64");
    int result = real(path, room);
    if (result == 0 && has("narrow")) room->f_bavail = 8;
    return result;
}

int statvfs(const char *path, struct statvfs *room) {
    return statvfs64(path, (struct statvfs64 *)room);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    char words[256], *offset;
    if (result == 0 && clock == CLOCK_REALTIME && wrong(words, sizeof words) > 0 && (offset = strstr(words, "clock ")))
        now->tv_sec += atoll(offset + 6);
    return result;
}
