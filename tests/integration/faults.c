// Preloaded into engramd and its workers: while the file FAULT_CONTROL is there, what changes files below FAULT_ROOT
// fails with the errno that it holds. A disk that fails, fills up or turns read-only cannot be had otherwise without root.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int fault(const char* path) {
  const char *root = getenv("FAULT_ROOT"), *control = getenv("FAULT_CONTROL");
  if (!root || !control || !path || strncmp(path, root, strlen(root)) != 0) return 0;
  int file = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC, 0);
  if (file < 0) return 0;
  char text[16] = {0};
  long got = syscall(SYS_read, file, text, sizeof(text) - 1);
  syscall(SYS_close, file);
  return got > 0 ? atoi(text) : 0;
}

static int fault_of(int descriptor) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
  ssize_t size = readlink(link, path, sizeof(path) - 1);
  if (size <= 0) return 0;
  path[size] = 0;
  return fault(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL_IF(error)      \
  do {                      \
    int fault_errno = (error); \
    if (fault_errno) {      \
      errno = fault_errno;  \
      return -1;            \
    }                       \
  } while (0)

static mode_t mode_of(int flags, va_list rest) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; }

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = mode_of(flags, rest);
  va_end(rest);
  if (flags & (O_WRONLY | O_RDWR | O_CREAT)) FAIL_IF(fault(path));
  return REAL(open)(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = mode_of(flags, rest);
  va_end(rest);
  if (flags & (O_WRONLY | O_RDWR | O_CREAT)) FAIL_IF(fault(path));
  return REAL(open64)(path, flags, mode);
}
ssize_t write(int descriptor, const void* bytes, size_t size) {
  FAIL_IF(fault_of(descriptor));
  return REAL(write)(descriptor, bytes, size);
}
ssize_t pwrite64(int descriptor, const void* bytes, size_t size, off64_t at) {
  FAIL_IF(fault_of(descriptor));
  return REAL(pwrite64)(descriptor, bytes, size, at);
}
int fsync(int descriptor) {
  FAIL_IF(fault_of(descriptor));
  return REAL(fsync)(descriptor);
}
int fdatasync(int descriptor) {
  FAIL_IF(fault_of(descriptor));
  return REAL(fdatasync)(descriptor);
}
int mkdir(const char* path, mode_t mode) {
  FAIL_IF(fault(path));
  return REAL(mkdir)(path, mode);
}
int rename(const char* from, const char* to) {
  FAIL_IF(fault(to));
  return REAL(rename)(from, to);
}
