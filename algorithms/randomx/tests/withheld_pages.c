/* Reserved huge pages that are granted and then withheld, as under a container's hugetlb limit: a mapping of an empty file
   takes their place, so that the first touch is SIGBUS. With OLD_KERNEL, madvise knows no MADV_POPULATE_WRITE either. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

void *mmap(void *at, size_t len, int rights, int flags, int fd, off_t offset) {
    void *(*next)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
    if (flags & MAP_HUGETLB) {
        int empty = memfd_create("empty", 0);
        void *got = next(0, len, rights, MAP_SHARED, empty, 0);
        close(empty);
        return got;
    }
    return next(at, len, rights, flags, fd, offset);
}

#ifdef OLD_KERNEL
int madvise(void *at, size_t len, int advice) {
    int (*next)(void *, size_t, int) = dlsym(RTLD_NEXT, "madvise");
    if (advice == 23) {
        errno = EINVAL;
        return -1;
    }
    return next(at, len, advice);
}
#endif
