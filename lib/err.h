/* err.h - a code, and a sentence that the caller owns.
 *
 * A function that can fail for reasons a person should read takes a `struct err *` last and returns
 * a negative code from enum err_code (0 is success). The library never logs: whoever holds the err
 * prints it once. err_set formats and truncates; it returns the (negative) code, so that
 * `return err_set(e, ERR_SYNTAX, "...")` reads well. A NULL err is allowed: the text is dropped.
 * Never put a secret into an err.
 */
#ifndef LIB_ERR_H
#define LIB_ERR_H

enum err_code {
    ERR_NOMEM = -1,  /* memory ran out */
    ERR_SYNTAX = -2, /* the text is not in the expected form */
    ERR_RANGE = -3,  /* a value out of its bounds, or a limit reached */
    ERR_TYPE = -4,   /* a value of another kind than asked for */
    ERR_MISSING = -5,
    ERR_IO = -6,     /* the world said no; the text has strerror's words */
    ERR_BUSY = -7,   /* someone else holds it */
};

#define ERR_TEXT_MAX 512

struct err {
    int code;
    char text[ERR_TEXT_MAX];
};

int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
