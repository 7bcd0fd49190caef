/* Lets the tests of generated code run under Valgrind, whose mremap cannot map memory a second time: here a mapping that is
 * shared and executable is one of a file in memory, so that mmap can. Preloaded by `cargo xtask sanitize`; never part of Lockstep. */

#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The mapping made last, until it is mapped again. The tests have one thread. */
static void *latest;
static int latest_file = -1;

static void *map(void *at, size_t size, int protection, int flags, int file, off_t offset)
{
    return (void *)syscall(SYS_mmap, at, size, protection, flags, file, offset);
}

static void forget(void)
{
    if (latest_file >= 0)
        close(latest_file);
    latest_file = -1;
}

void *mmap(void *at, size_t size, int protection, int flags, int file, off_t offset)
{
    int shared = MAP_SHARED | MAP_ANONYMOUS;
    if (protection != (PROT_READ | PROT_EXEC) || (flags & shared) != shared)
        return map(at, size, protection, flags, file, offset);
    forget();
    latest_file = (int)syscall(SYS_memfd_create, "code", 0);
    if (latest_file < 0 || ftruncate(latest_file, (off_t)size) != 0)
        return MAP_FAILED;
    latest = map(at, size, protection, MAP_SHARED, latest_file, 0);
    return latest;
}

/* Only the translator comes here: the C library's own functions ask the kernel themselves. */
void *mremap(void *at, size_t old_size, size_t new_size, int flags, ...)
{
    (void)flags;
    if (old_size != 0 || at != latest || latest_file < 0) {
        errno = EINVAL;
        return MAP_FAILED;
    }
    void *second = map(0, new_size, PROT_READ | PROT_WRITE, MAP_SHARED, latest_file, 0);
    forget();
    return second;
}
