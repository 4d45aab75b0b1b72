#include "daemon/progress.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BAR_CELLS 20

void progress_init(struct progress *p, uint64_t now_ms)
{
    *p = (struct progress){
        .on = isatty(STDERR_FILENO) == 1, .started_ms = now_ms, .next_ms = now_ms};
}

uint64_t progress_due(const struct progress *p)
{
    return p->on ? p->next_ms : UINT64_MAX;
}

static size_t terminal_width(void)
{
    struct winsize ws;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 20 ? ws.ws_col : 80;
}

static void draw_bar(char bar[BAR_CELLS + 1], uint64_t done, uint64_t all)
{
    size_t cells = all > 0 ? (size_t)(done * BAR_CELLS / all) : BAR_CELLS;
    memset(bar, '.', BAR_CELLS);
    memset(bar, '#', min_size(cells, BAR_CELLS));
    bar[BAR_CELLS] = '\0';
}

static int print_known(char *line, size_t size, const struct progress_facts *f, uint64_t ms)
{
    uint64_t left_s = f->bytes_done > 0 && f->bytes > f->bytes_done
                          ? (f->bytes - f->bytes_done) * ms / f->bytes_done / 1000
                          : 0;
    char bar[BAR_CELLS + 1];
    draw_bar(bar, f->bytes_done, f->bytes);
    return snprintf(line, size,
                    "[%s] %u/%u files  %.1f/%.1f MiB  %llu records  %.0f/s  %llu:%02llu left", bar,
                    f->files_done, f->files, (double)f->bytes_done / (double)MIB,
                    (double)f->bytes / (double)MIB, (unsigned long long)f->records_done,
                    (double)f->records_done * 1000 / (double)ms, (unsigned long long)(left_s / 60),
                    (unsigned long long)(left_s % 60));
}

static int print_endless(char *line, size_t size, const struct progress_facts *f, uint64_t ms)
{
    return snprintf(line, size, "%.1f MiB  %llu records  %.0f/s",
                    (double)f->bytes_done / (double)MIB, (unsigned long long)f->records_done,
                    (double)f->records_done * 1000 / (double)ms);
}

void progress_show(struct progress *p, uint64_t now_ms, const struct progress_facts *f, bool last)
{
    if (!p->on || (!last && now_ms < p->next_ms))
        return;
    p->next_ms = now_ms + PROGRESS_EVERY_MS;
    uint64_t ms = now_ms - p->started_ms + 1;
    char line[256];
    int n = f->endless ? print_endless(line, sizeof line, f, ms)
                       : print_known(line, sizeof line, f, ms);
    if (n < 0)
        return;
    size_t width = min_size(min_size((size_t)n, sizeof line - 1), terminal_width() - 1);
    dprintf(STDERR_FILENO, "\r%.*s\033[K%s", (int)width, line, last ? "\n" : "");
}
