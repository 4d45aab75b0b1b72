/* The clean answer is the hot path: it is as large as the batch, so it is walked once, token by
 * token, and nothing is copied. Only failures copy the first code and message out. */
#include "lib/reply.h"

#include "lib/json.h"

struct judgement {
    const char *code;
    enum reply_kind kind;
    bool credentials;
};

/* Codes as the service and its front ends send them; what is not here goes by the status. */
static const struct judgement judgements[] = {
    {"ProvisionedThroughputExceededException", REPLY_THROTTLED, false},
    {"ThrottlingException", REPLY_THROTTLED, false},
    {"Throttling", REPLY_THROTTLED, false},
    {"ThrottledException", REPLY_THROTTLED, false},
    {"RequestThrottled", REPLY_THROTTLED, false},
    {"RequestThrottledException", REPLY_THROTTLED, false},
    {"TooManyRequestsException", REPLY_THROTTLED, false},
    {"RequestLimitExceeded", REPLY_THROTTLED, false},
    {"BandwidthLimitExceeded", REPLY_THROTTLED, false},
    {"LimitExceededException", REPLY_THROTTLED, false},
    {"SlowDown", REPLY_THROTTLED, false},
    {"KMSThrottlingException", REPLY_THROTTLED, false},
    {"AccessDeniedException", REPLY_HELD, true},
    {"AccessDenied", REPLY_HELD, true},
    {"NotAuthorized", REPLY_HELD, true},
    {"OptInRequired", REPLY_HELD, false},
    {"ExpiredTokenException", REPLY_HELD, true},
    {"ExpiredToken", REPLY_HELD, true},
    {"UnrecognizedClientException", REPLY_HELD, true},
    {"InvalidClientTokenId", REPLY_HELD, true},
    {"InvalidSignatureException", REPLY_HELD, true},
    {"SignatureDoesNotMatch", REPLY_HELD, true},
    {"IncompleteSignature", REPLY_HELD, true},
    {"IncompleteSignatureException", REPLY_HELD, true},
    {"MissingAuthenticationToken", REPLY_HELD, true},
    {"MissingAuthenticationTokenException", REPLY_HELD, true},
    {"RequestExpired", REPLY_HELD, true},
    {"ResourceNotFoundException", REPLY_HELD, false},
    {"UnknownOperationException", REPLY_HELD, false},
    {"KMSDisabledException", REPLY_HELD, false},
    {"KMSInvalidStateException", REPLY_HELD, false},
    {"KMSAccessDeniedException", REPLY_HELD, false},
    {"KMSNotFoundException", REPLY_HELD, false},
    {"KMSOptInRequired", REPLY_HELD, false},
    {"InvalidArgumentException", REPLY_REFUSED, false},
    {"ValidationException", REPLY_REFUSED, false},
    {"ValidationError", REPLY_REFUSED, false},
    {"SerializationException", REPLY_REFUSED, false},
    {"RequestEntityTooLargeException", REPLY_REFUSED, false},
    {"ResourceInUseException", REPLY_TRANSIENT, false}, /* the stream is being created or updated */
    {"RequestTimeout", REPLY_TRANSIENT, false},
    {"RequestTimeoutException", REPLY_TRANSIENT, false},
    {"RequestAbortedException", REPLY_TRANSIENT, false},
    {"InternalFailure", REPLY_TRANSIENT, false},
    {"InternalFailureException", REPLY_TRANSIENT, false},
    {"InternalError", REPLY_TRANSIENT, false},
    {"ServiceUnavailable", REPLY_TRANSIENT, false},
    {"ServiceUnavailableException", REPLY_TRANSIENT, false},
};

static const struct judgement *judge(const char *code)
{
    for (size_t i = 0; i < ARRAY_LEN(judgements); i++)
        if (strcmp(judgements[i].code, code) == 0)
            return &judgements[i];
    return NULL;
}

/* Foreign text for the log: what is not printable ASCII becomes '?'. */
static void copy_text(char *to, size_t cap, struct str from)
{
    size_t n = min_size(cap - 1, from.n);
    for (size_t i = 0; i < n; i++)
        to[i] = from.p[i] >= ' ' && from.p[i] <= '~' ? from.p[i] : '?';
    to[n] = '\0';
}

/* "com.amazonaws.kinesis#AccessDeniedException:http://..." names AccessDeniedException. */
static struct str bare_code(struct str code)
{
    const char *colon = memchr(code.p, ':', code.n);
    if (colon != NULL)
        code.n = (size_t)(colon - code.p);
    const char *hash = memrchr(code.p, '#', code.n);
    if (hash != NULL) {
        code.n -= (size_t)(hash + 1 - code.p);
        code.p = hash + 1;
    }
    return code;
}

struct entry {
    bool has_sequence;
    struct str code, message;
};

/* One element of Records, after its JSON_OBJECT. False: the text is broken. */
static bool walk_entry(struct json_scan *s, struct entry *e)
{
    *e = (struct entry){0};
    enum json_token t;
    while ((t = json_scan_next(s)) == JSON_KEY) {
        struct str key = s->token;
        t = json_scan_next(s);
        if (t == JSON_STRING && str_eq(key, STR("SequenceNumber")))
            e->has_sequence = s->token.n > 0;
        else if (t == JSON_STRING && str_eq(key, STR("ErrorCode")))
            e->code = s->token;
        else if (t != JSON_NULL && str_eq(key, STR("ErrorCode")))
            return false; /* no code that anybody knows: it must not pass for none */
        else if (t == JSON_STRING && str_eq(key, STR("ErrorMessage")))
            e->message = s->token;
        else if (t == JSON_OBJECT || t == JSON_ARRAY)
            t = json_scan_skip(s);
        if (t <= JSON_END)
            return false;
    }
    return t == JSON_CLOSE;
}

static void note_failure(struct reply *r, const struct entry *e, uint8_t *failed)
{
    *failed = 1;
    if (r->failed_n++ == 0) {
        copy_text(r->code, sizeof r->code, e->code.n > 0 ? e->code : STR("no SequenceNumber"));
        copy_text(r->message, sizeof r->message, e->message);
    }
    char code[sizeof r->code];
    copy_text(code, sizeof code, e->code);
    const struct judgement *j = judge(code);
    if (j != NULL && j->kind == REPLY_THROTTLED)
        r->throttled = true;
}

/* After the JSON_ARRAY of Records. False: broken, or not n entries. */
static bool walk_records(struct json_scan *s, struct reply *r, unsigned n, uint8_t *failed)
{
    unsigned i = 0;
    enum json_token t;
    while ((t = json_scan_next(s)) == JSON_OBJECT) {
        struct entry e;
        if (i == n || !walk_entry(s, &e))
            return false;
        failed[i] = 0;
        if (e.code.n > 0 || !e.has_sequence)
            note_failure(r, &e, &failed[i]);
        i++;
    }
    return t == JSON_CLOSE && i == n;
}

static bool walk_answer(struct reply *r, struct str body, unsigned n, uint8_t *failed)
{
    struct json_scan s;
    json_scan_init(&s, body);
    if (json_scan_next(&s) != JSON_OBJECT)
        return false;
    bool seen = false;
    enum json_token t;
    while ((t = json_scan_next(&s)) == JSON_KEY) {
        bool records = str_eq(s.token, STR("Records"));
        t = json_scan_next(&s);
        if (t == JSON_ARRAY && records) {
            if (seen || !walk_records(&s, r, n, failed))
                return false;
            seen = true;
        } else if (t == JSON_OBJECT || t == JSON_ARRAY) {
            t = json_scan_skip(&s);
        }
        if (t <= JSON_END)
            return false;
    }
    return t == JSON_CLOSE && json_scan_next(&s) == JSON_END && seen;
}

/* ---- the usual answer, to the letter ---- */

/* A run of bytes with a place in it; a step that does not fit changes nothing. */
static bool step(struct str *at, struct str text)
{
    if (at->n < text.n || memcmp(at->p, text.p, text.n) != 0)
        return false;
    at->p += text.n;
    at->n -= text.n;
    return true;
}

/* At least one digit, eight at a time while there are so many. */
static bool step_digits(struct str *at)
{
    size_t n = 0;
    for (uint64_t eight; at->n - n >= 8; n += 8) {
        memcpy(&eight, at->p + n, 8);
        uint64_t high = eight & 0xf0f0f0f0f0f0f0f0u;
        uint64_t over = (eight + 0x0606060606060606u) & 0xf0f0f0f0f0f0f0f0u;
        if (high != 0x3030303030303030u || over != 0x3030303030303030u)
            break;
    }
    while (n < at->n && at->p[n] >= '0' && at->p[n] <= '9')
        n++;
    at->p += n;
    at->n -= n;
    return n > 0;
}

static bool step_plain(struct str *at)
{
    size_t n = json_plain_len(at->p, at->n);
    at->p += n;
    at->n -= n;
    return n > 0;
}

/* One accepted entry, in either order of its two members. */
static bool step_entry(struct str *at)
{
    if (step(at, STR("{\"SequenceNumber\":\"")))
        return step_digits(at) && step(at, STR("\",\"ShardId\":\"")) && step_plain(at) &&
               step(at, STR("\"}"));
    return step(at, STR("{\"ShardId\":\"")) && step_plain(at) &&
           step(at, STR("\",\"SequenceNumber\":\"")) && step_digits(at) && step(at, STR("\"}"));
}

static void step_encryption(struct str *at)
{
    if (!step(at, STR("\"EncryptionType\":\"NONE\",")))
        step(at, STR("\"EncryptionType\":\"KMS\","));
}

/* Nearly every answer is exactly this, n times; everything else takes the long way. */
static bool is_clean(struct str body, unsigned n)
{
    if (!step(&body, STR("{")))
        return false;
    step_encryption(&body);
    if (!step(&body, STR("\"FailedRecordCount\":0,\"Records\":[")))
        return false;
    for (unsigned i = 0; i < n; i++)
        if ((i > 0 && !step(&body, STR(","))) || !step_entry(&body))
            return false;
    return str_eq(body, STR("]}")) || str_eq(body, STR("],\"EncryptionType\":\"NONE\"}")) ||
           str_eq(body, STR("],\"EncryptionType\":\"KMS\"}"));
}

/* ---- errors ---- */

static void read_error_body(struct reply *r, struct str body)
{
    struct json_scan s;
    json_scan_init(&s, body);
    if (json_scan_next(&s) != JSON_OBJECT)
        return;
    while (json_scan_next(&s) == JSON_KEY) {
        struct str key = s.token;
        enum json_token t = json_scan_next(&s);
        if (t == JSON_STRING && str_eq(key, STR("__type")))
            copy_text(r->code, sizeof r->code, bare_code(s.token));
        else if (t == JSON_STRING && (str_eq(key, STR("message")) || str_eq(key, STR("Message"))))
            copy_text(r->message, sizeof r->message, s.token);
        else if (t == JSON_OBJECT || t == JSON_ARRAY)
            json_scan_skip(&s);
    }
}

/* An error without a code that we know: the status has the word. */
static enum reply_kind judge_status(int status)
{
    if (status == 413)
        return REPLY_REFUSED;
    if (status == 429)
        return REPLY_THROTTLED;
    if (status == 401 || status == 403 || status == 404 || status == 407)
        return REPLY_HELD;
    return REPLY_TRANSIENT;
}

void reply_read(struct reply *r, int status, struct str body, unsigned n, uint8_t *failed)
{
    *r = (struct reply){.kind = REPLY_TRANSIENT};
    if (status == 200 && is_clean(body, n)) {
        memset(failed, 0, n);
        r->kind = REPLY_OK;
        return;
    }
    if (status == 200) {
        if (walk_answer(r, body, n, failed)) {
            r->kind = r->failed_n == 0 ? REPLY_OK : REPLY_PARTIAL;
            return;
        }
        *r = (struct reply){.kind = REPLY_TRANSIENT, .code = "BrokenAnswer"};
        copy_text(r->message, sizeof r->message,
                  STR("the answer is cut, not JSON, or of another length"));
        return;
    }
    if (status == 0)
        return;
    read_error_body(r, body);
    const struct judgement *j = judge(r->code);
    r->kind = j != NULL ? j->kind : judge_status(status);
    r->late = status == REPLY_STATUS_LATE;
    r->credentials = j != NULL ? j->credentials : status == 401 || status == 403;
}
