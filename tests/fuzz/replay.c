/* Feeds files to a fuzz entry point, for the normal test run: no fuzzer is needed to see that what
 * was once found, or once interesting, still holds. Arguments are files, or directories whose files
 * are taken (not theirs in turn, and not names that begin with a dot). A path that cannot be read
 * is a failure, and so is finding nothing at all: a replay that replays nothing must not look
 * green.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static _Noreturn void die(const char *path)
{
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    exit(1);
}

static void replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    struct stat st;
    if (f == NULL || fstat(fileno(f), &st) != 0)
        die(path);
    size_t size = (size_t)st.st_size;
    uint8_t *data = malloc(size > 0 ? size : 1); /* exact: the sanitizers see a read too far */
    if (data == NULL || fread(data, 1, size, f) != size)
        die(path);
    fclose(f);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
}

static unsigned replay(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL && errno != ENOTDIR)
        die(path);
    if (dir == NULL) {
        replay_file(path);
        return 1;
    }
    unsigned n = 0;
    for (const struct dirent *d; (d = readdir(dir)) != NULL;) {
        char inside[4096];
        struct stat st;
        int len = snprintf(inside, sizeof inside, "%s/%s", path, d->d_name);
        if (d->d_name[0] == '.' || len < 0 || (size_t)len >= sizeof inside)
            continue;
        if (stat(inside, &st) != 0)
            die(inside);
        if (!S_ISREG(st.st_mode))
            continue;
        replay_file(inside);
        n++;
    }
    closedir(dir);
    return n;
}

int main(int argc, char **argv)
{
    unsigned n = 0;
    for (int i = 1; i < argc; i++)
        n += replay(argv[i]);
    printf("%u inputs replayed\n", n);
    return n > 0 ? 0 : 1;
}
