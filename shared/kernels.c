/* The innermost loops of a busy moment. `shared/kernels.py` says what each is given; what each does is done once more,
   in numpy or event by event, by the module that calls it, and tests hold the two against each other. Nothing here
   allocates, and nothing beyond the sizes given is read or written.  */

#include <stdint.h>
#include <string.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

enum { BUY = 0, SELL = 1, QUOTE = 2 };
enum { TS, TS_RECV, IDS, PRICE, QTY, ASK, ASK_QTY, TS_SENT, COLUMNS };

/* What follows a text: a number in its column, or a word, or what stands in no column, or nothing more. */
enum { WHOLE, MONEY, TIME, SIDE, WORD, NUMBER, TEXT, NOTHING };

struct piece {
    int32_t at, size;         /* the text, behind which there are at least sixteen bytes more of texts */
    int32_t follows, column;
};

static inline uint64_t word_at(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

/* --- messages of a websocket ----------------------------------------------------------------------------------- */

/* How far ahead of a header memory is fetched: where the next header is only this one says, so the processor, which does
   not know, would wait for each.  */
#define AHEAD 4096

/* Whole, unmasked text messages at the start of `data`, at most `most`: how many there are, and where they end. */
EXPORT int64_t lake_cut(const uint8_t *data, int64_t size, int64_t most, int64_t *begins, int64_t *ends)
{
    int64_t count = 0, at = 0;
    while (count < most && size - at >= 2 && data[at] == 0x81 && data[at + 1] <= 126) {
        for (int line = 0; line < 4; line++)
            __builtin_prefetch(data + at + AHEAD + 64 * line);
        int64_t length = data[at + 1], begin = at + 2;
        if (length == 126) {
            if (size - at < 4)
                break;
            length = (int64_t)data[at + 2] << 8 | data[at + 3];
            begin = at + 4;
        }
        if (size - begin < length)
            break;
        begins[count] = begin;
        ends[count++] = at = begin + length;
    }
    return count;
}

/* --- checksums ------------------------------------------------------------------------------------------------- */

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define FOLDS __attribute__((target("pclmul,sse4.1")))

EXPORT int lake_folds(void)
{
    return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
}

FOLDS static inline __m128i load(const uint8_t *at)
{
    return _mm_loadu_si128((const __m128i *)at);
}

/* `part` moved on to where `next` is. */
FOLDS static inline __m128i fold(__m128i part, __m128i by, __m128i next)
{
    __m128i low = _mm_clmulepi64_si128(part, by, 0x00), high = _mm_clmulepi64_si128(part, by, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

/* The CRC-32 of zlib, of whole sixteens of bytes, at least four of them. Numbers and way: V. Gopal and others, "Fast CRC
   Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel, 2009.  */
FOLDS EXPORT uint32_t lake_crc(uint32_t before, const uint8_t *data, int64_t size)
{
    const __m128i by_64 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4);
    const __m128i by_16 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    const __m128i by_8 = _mm_set_epi64x(0, 0x0163cd6124), barrett = _mm_set_epi64x(0x01f7011641, 0x01db710641);
    const __m128i even = _mm_setr_epi32(-1, 0, -1, 0);
    __m128i part[4];
    for (int at = 0; at < 4; at++)
        part[at] = load(data + 16 * at);
    part[0] = _mm_xor_si128(part[0], _mm_cvtsi32_si128((int)~before));
    for (data += 64, size -= 64; size >= 64; data += 64, size -= 64)
        for (int at = 0; at < 4; at++)
            part[at] = fold(part[at], by_64, load(data + 16 * at));
    __m128i all = part[0];
    for (int at = 1; at < 4; at++)
        all = fold(all, by_16, part[at]);
    for (; size >= 16; data += 16, size -= 16)
        all = fold(all, by_16, load(data));
    all = _mm_xor_si128(_mm_srli_si128(all, 8), _mm_clmulepi64_si128(all, by_16, 0x10));
    all = _mm_xor_si128(_mm_srli_si128(all, 4), _mm_clmulepi64_si128(_mm_and_si128(all, even), by_8, 0x00));
    __m128i over = _mm_clmulepi64_si128(_mm_and_si128(all, even), barrett, 0x10);
    over = _mm_clmulepi64_si128(_mm_and_si128(over, even), barrett, 0x00);
    return ~(uint32_t)_mm_extract_epi32(_mm_xor_si128(all, over), 1);
}
#else
EXPORT int lake_folds(void)
{
    return 0;
}

EXPORT uint32_t lake_crc(uint32_t before, const uint8_t *data, int64_t size)
{
    (void)data, (void)size;
    return before;  /* never asked for */
}
#endif

/* --- from frames to columns ------------------------------------------------------------------------------------ */

/* The streams of a source, found by what stands in their frames from `name_at` on, up to a quotation mark. */
struct streams {
    int64_t name_at;
    int64_t mask;             /* size of `slots` less one: a power of two beyond the number of streams */
    const int32_t *slots;     /* by key, or in the next slot: a stream; -1 where there is none */
    const uint64_t *keys;
    struct form *forms;       /* of each stream two: the one that fitted last, and another or null */
    const uint16_t *symbol;
    int64_t *strange;         /* of each stream how many of its frames fitted none */
    int64_t *latest;          /* and the row of the last of them */
};

struct form {
    const uint8_t *text;
    const struct piece *pieces;
};

struct rows {
    uint8_t *is_plain, *kinds;
    uint16_t *symbol, *short_by;
    int64_t *columns[COLUMNS];
};

/* A place in a frame; `at` is null once something was not as it should be. */
struct place {
    const uint8_t *at, *end;
};

static inline int are_digits(uint64_t word)
{
    word ^= 0x3030303030303030u;
    return ((word | (word + 0x0606060606060606u)) & 0xF0F0F0F0F0F0F0F0u) == 0;
}

static inline int64_t eight_digits(uint64_t word)
{
    word ^= 0x3030303030303030u;
    word = word * 10 + (word >> 8);
    return (int64_t)(((word & 0x000000FF000000FFu) * 0x000F424000000064u
                      + ((word >> 16) & 0x000000FF000000FFu) * 0x0000271000000001u) >> 32);
}

static const int64_t TENS[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

/* How many digits a word begins with. */
static inline int leading_digits(uint64_t word)
{
    word ^= 0x3030303030303030u;
    uint64_t others = (word | (word + 0x0606060606060606u)) & 0xF0F0F0F0F0F0F0F0u;
    /* A byte beyond 0xF9 carries into the next one; before the first that is no digit none is so large. */
    return others ? __builtin_ctzll(others) >> 3 : 8;
}

/* The digits, at least one, that a word begins with: moved up, so that zeros stand before them. */
static inline int64_t first_digits(uint64_t word, int digits)
{
    return eight_digits((word ^ 0x3030303030303030u) << 8 * (8 - digits) ^ 0x3030303030303030u);
}

/* A number of at most `most` digits as JSON writes it: without zeros before it. */
static inline int64_t whole(struct place *place, int most)
{
    const uint8_t *at = place->at, *end = place->end, *begin = at;
    int64_t number = 0;
    while (end - at >= 8 && at - begin <= most) {
        uint64_t word = word_at(at);
        int digits = leading_digits(word);
        if (digits == 8) {
            number = number * 100000000 + eight_digits(word);
            at += 8;
            continue;
        }
        if (digits)
            number = number * TENS[digits] + first_digits(word, digits);
        at += digits;
        goto over;
    }
    while (at < end && (uint8_t)(*at - '0') < 10 && at - begin <= most)
        number = number * 10 + (*at++ - '0');
over:
    place->at = at == begin || at - begin > most || (*begin == '0' && at - begin > 1) ? 0 : at;
    return number;
}

/* A number with at most eight digits after its point, or without one, and at most ten before it, in units of 10**-8;
   and how many of the eight it lacks. Behind more of them no form goes on.  */
static inline int64_t money(struct place *place, unsigned *lacks)
{
    int64_t units = whole(place, 10);
    const uint8_t *at = place->at, *end = place->end;
    int digits = 0;
    *lacks = 0;
    if (!at)
        return 0;
    if (at < end && *at == '.') {
        at++;
        if (end - at >= 8 && (digits = leading_digits(word_at(at))) == 8) {  /* as the venue writes them */
            place->at = at + 8;
            return units * 100000000 + eight_digits(word_at(at));
        }
        if (digits)
            units = units * TENS[digits] + first_digits(word_at(at), digits);
        for (; end - at < 8 && digits < end - at && (uint8_t)(at[digits] - '0') < 10; digits++)
            units = units * 10 + (at[digits] - '0');
        place->at = digits ? at + digits : 0;
    }
    *lacks = 8 - digits;
    return units * TENS[8 - digits];
}

/* Nanoseconds of a time in milliseconds or microseconds, which its size tells. */
static inline int64_t nanoseconds(struct place *place)
{
    int64_t stamp = whole(place, 16);
    if (stamp >= 100000000000 && stamp < 9223372036854)
        return stamp * 1000000;
    if (stamp >= 100000000000000 && stamp < 9223372036854775)
        return stamp * 1000;
    place->at = 0;
    return 0;
}

/* Of no concern, but none that a parser might refuse. */
static inline void skip_text(struct place *place)
{
    while (place->at < place->end && *place->at >= ' ' && *place->at <= '~' && *place->at != '"' && *place->at != '\\')
        place->at++;
}

static inline int is_true(struct place *place)
{
    int64_t left = place->end - place->at;
    if (left >= 4 && !memcmp(place->at, "true", 4)) {
        place->at += 4;
        return 1;
    }
    place->at = left >= 5 && !memcmp(place->at, "false", 5) ? place->at + 5 : 0;
    return 0;
}

/* Whether a text stands here, behind which it goes on. Its last word overlaps the one before it. */
static inline int stands(struct place *place, const uint8_t *text, int64_t size)
{
    const uint8_t *at = place->at;
    if (place->end - at < size)
        return 0;
    place->at = at + size;
    if (size >= 8) {
        for (int64_t done = 0; done < size - 8; done += 8)
            if (word_at(at + done) != word_at(text + done))
                return 0;
        return word_at(at + size - 8) == word_at(text + size - 8);
    }
    if (place->end - at >= 8)  /* behind a text there are more */
        return size == 0 || !((word_at(at) ^ word_at(text)) << 8 * (8 - size));
    for (int64_t done = 0; done < size; done++)
        if (at[done] != text[done])
            return 0;
    return 1;
}

/* The stream whose name begins here; -1 where there is none. */
static inline int32_t stream_named(const struct streams *streams, const uint8_t *frame, const uint8_t *name,
                                   const uint8_t *end)
{
    const uint8_t *quote = end - name > 8 ? memchr(name, '"', end - name) : 0;
    int32_t stream;
    if (!quote || quote - frame < 7)
        return -1;
    uint64_t key = word_at(name) * 0x9E3779B97F4A7C15u ^ word_at(quote - 7);
    int64_t slot = (int64_t)(key * 0xFF51AFD7ED558CCDu >> 40) & streams->mask;
    for (; (stream = streams->slots[slot]) >= 0; slot = (slot + 1) & streams->mask)
        if (streams->keys[stream] == key)
            return stream;
    return -1;
}

/* The stream whose frames are like this one: named where names are, or else by a text with an @ in it. */
static inline int32_t stream_of(const struct streams *streams, const uint8_t *frame, const uint8_t *end)
{
    int32_t stream = stream_named(streams, frame, frame + streams->name_at, end);
    const uint8_t *name;
    if (stream >= 0 || end == frame || !(name = memchr(frame, '@', end - frame)))
        return stream;
    while (name > frame && name[-1] != '"')
        name--;
    return stream_named(streams, frame, name, end);
}

/* Whether a frame is of this form; what it says goes into the row. */
static inline int fits(const struct form *form, struct place place, const struct rows *rows, int64_t row)
{
    unsigned lacks, short_by = 0;
    for (const struct piece *piece = form->pieces; place.at; piece++) {
        int64_t *column = rows->columns[piece->column];
        if (!stands(&place, form->text + piece->at, piece->size))
            return 0;
        switch (piece->follows) {
        case WHOLE: column[row] = whole(&place, 16); break;
        case MONEY:
            column[row] = money(&place, &lacks);
            short_by |= lacks << 4 * (piece->column - PRICE);
            break;
        case TIME: column[row] = nanoseconds(&place); break;
        case SIDE: rows->kinds[row] = is_true(&place) ? SELL : BUY; break;
        case WORD: is_true(&place); break;
        case NUMBER: whole(&place, 16); break;
        case TEXT: skip_text(&place); break;
        default:
            rows->short_by[row] = (uint16_t)short_by;
            return place.at == place.end;
        }
    }
    return 0;
}

static inline void read_one(const struct streams *streams, struct place place, const struct rows *rows, int64_t row)
{
    int32_t stream = stream_of(streams, place.at, place.end);
    if (stream < 0)
        return;
    struct form *form = streams->forms + 2 * stream;
    rows->symbol[row] = streams->symbol[stream];
    rows->is_plain[row] = 1;
    if (fits(form, place, rows, row))
        return;
    if (form[1].pieces && fits(form + 1, place, rows, row)) {
        struct form other = form[0];
        form[0] = form[1];
        form[1] = other;
        return;
    }
    rows->is_plain[row] = 0;
    streams->strange[stream]++;
    streams->latest[stream] = row;
}

/* Frames that are parts of `data` to rows from `row` on; of one that is not plain the row says only that. */
EXPORT void lake_read(const struct streams *streams, const uint8_t *data, int64_t count, const int64_t *begins,
                      const int64_t *ends, const struct rows *rows, int64_t row)
{
    for (int64_t at = 0; at < count; at++) {
        struct place place = {data + begins[at], data + ends[at]};
        read_one(streams, place, rows, row + at);
    }
}

/* --- from rows to records -------------------------------------------------------------------------------------- */

/* What rows of one connection come to. Of each read; and of each symbol twice, for its trades and, behind those of all
   symbols, for its quotes.  */
struct judged {
    int64_t reads, symbols;
    const int64_t *behind;    /* of each read the row behind its last */
    int64_t *tops;            /* the highest venue time of its trades */
    int64_t *count, *first, *last, *ts;
    int64_t *is_odd;          /* ids of trades that do not follow one another, of quotes that do not rise */
    int64_t *until;           /* where a symbol's ids end in `ids` */
    int64_t *ids;             /* of the quotes, each symbol's together */
    int64_t low, top, final, trades;  /* lowest, highest and last venue time of trades, and how many they are */
    int64_t latest;           /* of the times that were given */
};

static inline int64_t later(int64_t one, int64_t other)
{
    return one > other ? one : other;
}

/* The rows from `row` up to `behind`, all of them plain. Symbols are those that there are. */
EXPORT void lake_judge(const struct rows *rows, int64_t row, int64_t behind, struct judged *judged)
{
    const int64_t *ids = rows->columns[IDS], *ts = rows->columns[TS], *sent = rows->columns[TS_SENT];
    int64_t symbols = judged->symbols, read = 0, quotes = 0;
    judged->low = INT64_MAX;
    judged->top = judged->final = judged->trades = 0;
    for (int64_t at = 0; at < judged->reads; at++)
        judged->tops[at] = 0;
    for (int64_t at = 0; at < 2 * symbols; at++)
        judged->count[at] = judged->is_odd[at] = 0;
    for (int64_t at = row; at < behind; at++) {
        int is_quote = rows->kinds[at] == QUOTE;
        int64_t own = rows->symbol[at] + (is_quote ? symbols : 0), id = ids[at];
        if (!is_quote) {
            int64_t latest = later(ts[at], sent[at]);
            while (judged->behind[read] <= at)
                read++;
            judged->tops[read] = later(judged->tops[read], latest);
            judged->low = latest < judged->low ? latest : judged->low;
            judged->top = later(judged->top, latest);
            judged->final = latest;
            judged->trades++;
        }
        if (!judged->count[own]++)
            judged->first[own] = id;
        else if (is_quote ? id <= judged->last[own] : id - 1 != judged->last[own])
            judged->is_odd[own] = 1;
        judged->last[own] = id;
        judged->ts[own] = ts[at];
    }
    for (int64_t at = 0; at < symbols; at++) {  /* first where each begins, which its ids then move on */
        judged->until[at] = quotes;
        quotes += judged->count[symbols + at];
    }
    for (int64_t at = row; at < behind; at++)
        if (rows->kinds[at] == QUOTE)
            judged->ids[judged->until[rows->symbol[at]]++] = ids[at];
}

/* Gives these rows their times: a trade keeps its own, a quote has the estimate of its read or the highest venue time
   before it, whichever is later. What only trades or only quotes have is moved together. The highest venue time.  */
EXPORT int64_t lake_stamp(const struct rows *rows, int64_t row, int64_t behind, struct judged *judged,
                          const int64_t *estimates, const int64_t *walls, int64_t high, int64_t *ask,
                          int64_t *ask_qty, int64_t *sent)
{
    int64_t read = 0, *ts = rows->columns[TS], *recv = rows->columns[TS_RECV];
    judged->latest = 0;
    for (int64_t at = row; at < behind; at++) {
        while (judged->behind[read] <= at)
            read++;
        recv[at] = walls[read];
        if (rows->kinds[at] == QUOTE) {
            ts[at] = later(estimates[read], high);
            *ask++ = rows->columns[ASK][at];
            *ask_qty++ = rows->columns[ASK_QTY][at];
        } else {
            *sent = rows->columns[TS_SENT][at];
            high = later(high, later(ts[at], *sent++));
        }
        judged->latest = later(judged->latest, ts[at]);
    }
    return high;
}

/* --- from columns to lines of the archive ---------------------------------------------------------------------- */

struct lines {
    int64_t digits;
    const uint8_t *kinds;
    const uint16_t *symbol;
    const uint16_t *short_by; /* null where no digit was left out */
    const int64_t *columns[COLUMNS];
    const uint8_t *text;
    const struct piece *heads;  /* how the lines of each symbol begin */
    const struct piece *pieces[3];  /* how they go on, by kind */
};

/* A row on its own, in one line of the processor's cache: the columns of many rows are too much for the nearest one, and
   a group's rows lie far apart in them.  */
struct alone {
    int64_t numbers[COLUMNS - 1];  /* as the columns, but that TS_SENT stands where a quote has ASK */
    uint16_t symbol, short_by;
    uint8_t kind;
};

static const uint64_t POWERS[] = {
    1u, 10u, 100u, 1000u, 10000u, 100000u, 1000000u, 10000000u, 100000000u, 1000000000u, 10000000000u, 100000000000u,
    1000000000000u, 10000000000000u, 100000000000000u, 1000000000000000u, 10000000000000000u, 100000000000000000u,
    1000000000000000000u,
};

/* The eight digits of a number below 10**8 as they stand in memory: halves, then pairs, then digits side by side, with
   divisions by way of a product that is exact for numbers so small.  */
static inline uint64_t digits_of(uint32_t number)
{
    uint64_t upper = number / 10000, fours = upper | (uint64_t)(number - upper * 10000) << 32;
    uint64_t hundreds = (fours * 10486 >> 20) & 0x0000007F0000007Fu;
    uint64_t pairs = hundreds | (fours - hundreds * 100) << 16;
    uint64_t tens = (pairs * 103 >> 10) & 0x000F000F000F000Fu;
    return (tens | (pairs - tens * 10) << 8) | 0x3030303030303030u;
}

static inline uint8_t *eight(uint8_t *out, uint32_t number)
{
    uint64_t word = digits_of(number);
    memcpy(out, &word, 8);
    return out + 8;
}

/* A number below 10**8 without zeros before it; eight bytes are written. */
static inline uint8_t *up_to_eight(uint8_t *out, uint32_t number)
{
    int zeros = (number < 10000000) + (number < 1000000) + (number < 100000) + (number < 10000) + (number < 1000)
                + (number < 100) + (number < 10);
    uint64_t word = digits_of(number) >> 8 * zeros;
    memcpy(out, &word, 8);
    return out + 8 - zeros;
}

static inline uint8_t *integer(uint8_t *out, uint64_t number)
{
    uint64_t upper = number / 100000000;
    if (!upper)
        return up_to_eight(out, number);
    if (upper < 100000000)
        out = up_to_eight(out, upper);
    else
        out = eight(up_to_eight(out, upper / 100000000), upper % 100000000);
    return eight(out, number % 100000000);
}

/* A count of units of the last of so many digits. */
static inline uint8_t *decimal(uint8_t *out, uint64_t number, int64_t digits)
{
    if (digits == 8) {  /* nearly always: a division by what is known costs a tenth */
        out = integer(out, number / 100000000);
        *out++ = '.';
        return eight(out, number % 100000000);
    }
    uint64_t fraction = number % POWERS[digits];
    out = integer(out, number / POWERS[digits]);
    *out++ = '.';
    for (int64_t digit = digits; digit--; fraction /= 10)
        out[digit] = '0' + fraction % 10;
    return out + digits;
}

/* The end of a number whose last digits were left out. Where all were, one zero stands for them: see `lines.line`. */
static inline uint8_t *shorter(uint8_t *out, int64_t digits, int64_t by)
{
    if (by < digits)
        return out - by;
    out[-digits] = '0';
    return out - digits + 1;
}

/* Sixteen bytes at a time, beyond the end of the text: a call that copies just so many costs more than all else. */
static inline uint8_t *copy(uint8_t *out, const uint8_t *text, int size)
{
    for (int at = 0; at < size; at += 16)
        memcpy(out + at, text + at, 16);
    return out + size;
}

/* The text of a number that many rows have one after another, as those of one read have their time of receipt. */
struct known {
    uint64_t number;
    int size;
    uint8_t text[32];
};

static inline uint8_t *once(struct known *known, uint8_t *out, uint64_t number)
{
    if (number != known->number) {
        known->number = number;
        known->size = (int)(integer(known->text, number) - known->text);
    }
    memcpy(out, known->text, 32);
    return out + known->size;
}

/* Lines of rows, one behind the other; how many bytes. Thirty-two behind the last are spoilt. */
EXPORT int64_t lake_lines(const struct lines *given, int64_t count, const struct alone *rows, uint8_t *out)
{
    const struct lines lines = *given;
    struct known stamp = {0, 1, "0"}, receipt = {0, 1, "0"};
    uint8_t *begin = out;
    for (const struct alone *row = rows; row < rows + count; row++) {
        const struct piece *head = lines.heads + row->symbol, *piece = lines.pieces[row->kind];
        out = copy(out, lines.text + head->at, head->size);
        for (;; piece++) {
            out = copy(out, lines.text + piece->at, piece->size);
            if (piece->follows == NOTHING)
                break;
            uint64_t number = row->numbers[piece->column == TS_SENT ? ASK : piece->column];
            if (piece->follows == MONEY) {
                out = decimal(out, number, lines.digits);
                if (row->short_by)
                    out = shorter(out, lines.digits, row->short_by >> 4 * (piece->column - PRICE) & 15);
            } else if (piece->column <= TS_RECV) {
                out = once(piece->column == TS ? &stamp : &receipt, out, number);
            } else {
                out = integer(out, number);
            }
        }
    }
    return out - begin;
}

/* Rows by symbol and interval. Of each symbol, of each group, of each row one, and of runs as many as rows. */
struct grouping {
    int64_t symbols, most;    /* how many groups there is room for */
    int32_t *latest;          /* of each symbol its newest group */
    int32_t *before;          /* of each group the one before it of its symbol; -1 where it is the first */
    int32_t *symbol;          /* of each group */
    int64_t *start;
    int32_t *until;           /* where its rows end in the order */
    int32_t *group;           /* of each row */
    struct alone *rows;       /* those of the first group first, each group's as they came */
    int32_t *running;         /* of each symbol its newest run */
    int32_t *owner;           /* of each run of trade ids its symbol */
    int64_t *first, *last;
    int64_t runs;             /* how many there are */
};

static inline int are_natural(const int64_t *column, int64_t count)
{
    int64_t all = 0;
    for (int64_t at = 0; at < count; at++)
        all |= column[at];
    return all >= 0;
}

static inline int32_t group_of(struct grouping *given, int64_t *groups, int32_t symbol, int64_t ts, int64_t every)
{
    int32_t group = given->latest[symbol];
    for (; group >= 0; group = given->before[group])
        if (ts >= given->start[group] && ts - given->start[group] < every)
            return group;
    if (*groups == given->most)
        return -1;
    group = (int32_t)(*groups)++;
    given->before[group] = given->latest[symbol];
    given->symbol[group] = symbol;
    given->start[group] = ts - ts % every;
    given->until[group] = 0;
    return given->latest[symbol] = group;
}

static inline void run_on(struct grouping *given, int32_t symbol, int64_t id)
{
    int32_t run = given->running[symbol];
    if (run >= 0 && given->last[run] < id && given->last[run] + 1 == id) {
        given->last[run] = id;
        return;
    }
    run = given->running[symbol] = (int32_t)given->runs++;
    given->owner[run] = symbol;
    given->first[run] = given->last[run] = id;
}

/* How many groups there are, in the order of their first rows; -1 where a number is below zero or there are too many,
   -2 where a row is of a symbol that there is not. Rows are fewer than 2**31.  */
EXPORT int64_t lake_group(const struct lines *rows, int64_t count, int64_t quotes, int64_t every, struct grouping *given)
{
    int64_t groups = 0, until = 0, quote = 0, trade = 0;
    for (int column = TS; column < COLUMNS; column++)
        if (!are_natural(rows->columns[column],
                         column < ASK ? count : column < TS_SENT ? quotes : count - quotes))
            return -1;
    for (int64_t at = 0; at < given->symbols; at++)
        given->latest[at] = given->running[at] = -1;
    given->runs = 0;
    for (int64_t row = 0; row < count; row++) {
        int32_t symbol = rows->symbol[row];
        if (symbol >= given->symbols)
            return -2;
        int32_t group = group_of(given, &groups, symbol, rows->columns[TS][row], every);
        if (group < 0)
            return -1;
        given->group[row] = group;
        given->until[group]++;
        if (rows->kinds[row] != QUOTE)
            run_on(given, symbol, rows->columns[IDS][row]);
    }
    for (int64_t group = 0; group < groups; group++) {  /* first where each begins, which its rows then move on */
        int32_t own = given->until[group];
        given->until[group] = (int32_t)until;
        until += own;
    }
    for (int64_t row = 0; row < count; row++) {
        struct alone *alone = given->rows + given->until[given->group[row]]++;
        for (int column = TS; column < ASK; column++)
            alone->numbers[column] = rows->columns[column][row];
        alone->kind = rows->kinds[row];
        if (alone->kind == QUOTE) {
            alone->numbers[ASK] = rows->columns[ASK][quote];
            alone->numbers[ASK_QTY] = rows->columns[ASK_QTY][quote++];
        } else {
            alone->numbers[ASK] = rows->columns[TS_SENT][trade++];
        }
        alone->symbol = rows->symbol[row];
        alone->short_by = rows->short_by ? rows->short_by[row] : 0;
    }
    return groups;
}

/* --- from lines of the archive to columns ---------------------------------------------------------------------- */

/* How the lines of a symbol look. Here WHOLE is a count, TIME is a count or null, SIDE is buy or sell, WORD any word of
   small letters.  */
struct forms {
    int64_t count;
    const uint8_t *text;
    const struct piece *forms[4];
    const uint8_t *quotes;    /* of each form whether it is that of a quote */
};

/* As many rows of each column as there may be lines, and one more. */
struct found {
    uint8_t *kinds;
    int64_t *columns[COLUMNS];
};

/* A whole number below 2**63 as JSON writes it. */
static inline int64_t natural(struct place *place)
{
    const uint8_t *at = place->at, *end = place->end, *begin = at;
    uint64_t number = 0;
    while (end - at >= 8 && at - begin <= 8 && are_digits(word_at(at))) {
        number = number * 100000000 + (uint64_t)eight_digits(word_at(at));
        at += 8;
    }
    while (at < end && (uint8_t)(*at - '0') < 10 && at - begin < 20)
        number = number * 10 + (uint64_t)(*at++ - '0');
    if (at == begin || at - begin > 19 || (*begin == '0' && at - begin > 1) || number > INT64_MAX)
        at = 0;
    place->at = at;
    return (int64_t)number;
}

static inline int64_t natural_or_null(struct place *place)
{
    if (place->end - place->at < 4 || memcmp(place->at, "null", 4))
        return natural(place);
    place->at += 4;
    return 0;
}

static inline int side_at(struct place *place)
{
    int64_t left = place->end - place->at;
    if (left >= 3 && !memcmp(place->at, "buy", 3)) {
        place->at += 3;
        return BUY;
    }
    place->at = left >= 4 && !memcmp(place->at, "sell", 4) ? place->at + 4 : 0;
    return SELL;
}

static inline int is_like(const struct forms *forms, int64_t form, struct place place, const struct found *found,
                          int64_t row, int64_t rank)
{
    unsigned lacks;
    found->kinds[row] = QUOTE;
    for (const struct piece *piece = forms->forms[form]; place.at; piece++) {
        int64_t *into = &found->columns[piece->column][piece->column >= ASK ? rank : row];
        if (!stands(&place, forms->text + piece->at, piece->size))
            return 0;
        switch (piece->follows) {
        case WHOLE: *into = natural(&place); break;
        case TIME: *into = natural_or_null(&place); break;
        case MONEY: *into = money(&place, &lacks); break;
        case SIDE: found->kinds[row] = side_at(&place); break;
        case WORD:
            while (place.at < place.end && (uint8_t)(*place.at - 'a') < 26)
                place.at++;
            break;
        default: return place.at == place.end;
        }
    }
    return 0;
}

/* The lines at the start of `data`, at most `most`, up to the first that is not plain: how many, where they end, and how
   many of them are quotes.  */
EXPORT int64_t lake_parse(const struct forms *given, const uint8_t *data, int64_t size, int64_t most,
                          const struct found *into, int64_t *ended, int64_t *quoted)
{
    const struct forms forms = *given;
    const struct found found = *into;
    const uint8_t *at = data, *end = data + size;
    int64_t rows = 0, quotes = 0;
    while (rows < most && at < end) {
        const uint8_t *newline = memchr(at, '\n', end - at);
        struct place line = {at, newline};
        int64_t form = 0;
        if (!newline)
            break;
        while (form < forms.count
               && !is_like(&forms, form, line, &found, rows, forms.quotes[form] ? quotes : rows - quotes))
            form++;
        if (form == forms.count)
            break;
        quotes += forms.quotes[form];
        rows++;
        at = newline + 1;
    }
    *ended = at - data;
    *quoted = quotes;
    return rows;
}

/* --- from columns to seconds ----------------------------------------------------------------------------------- */

/* What a second comes to: a row of this many numbers, all 0 but for the first two where nothing was. Sums take two, of
   which the second is the higher half. What is behind the sums is known when the second is closed.  */
enum {
    SECOND, OWNER, TRADES, BUYS, FIRST_ID, LAST_ID, OPEN, CLOSE, HIGH, LOW, VOLUME, BUY_VOLUME = VOLUME + 2,
    PAID = BUY_VOLUME + 2, BUY_PAID = PAID + 2, ID_SUM = BUY_PAID + 2, QUOTES = ID_SUM + 2, FIRST_TS, FIRST_UPDATE,
    LAST_TS, UPDATE, BEST_BID, BEST_BID_QTY, BEST_ASK, BEST_ASK_QTY, WEIGHTED, LIVE_NS = WEIGHTED + 2, IS_COMPLETE,
    HAS_BOOK, FIELDS
};

static const int64_t NANOSECONDS = 1000000000;

static inline void add(int64_t *sum, __int128 more)
{
    unsigned __int128 all = (unsigned __int128)(uint64_t)sum[1] << 64 | (uint64_t)sum[0];
    all += (unsigned __int128)more;
    sum[0] = (int64_t)(uint64_t)all;
    sum[1] = (int64_t)(uint64_t)(all >> 64);
}

/* Whether a second may hold it: of products as large as that 2**32 fit a sum, of everything else more. */
static inline int is_trade(int64_t ts, int64_t id, int64_t price, int64_t qty)
{
    return (ts | id | price | qty) >= 0 && !((__int128)price * qty >> 96);
}

static inline int is_quote(int64_t ts, int64_t id, int64_t bid, int64_t bid_qty, int64_t ask, int64_t ask_qty)
{
    return (ts | id | bid | bid_qty | ask | ask_qty) >= 0;
}

static inline void add_trade(int64_t *second, int is_buy, int64_t id, int64_t price, int64_t qty)
{
    if (!second[TRADES]++) {
        second[FIRST_ID] = id;
        second[OPEN] = second[HIGH] = second[LOW] = price;
    }
    second[LAST_ID] = id;
    second[CLOSE] = price;
    if (price > second[HIGH])
        second[HIGH] = price;
    if (price < second[LOW])
        second[LOW] = price;
    add(second + VOLUME, qty);
    add(second + PAID, (__int128)price * qty);
    add(second + ID_SUM, id);
    if (is_buy) {
        second[BUYS]++;
        add(second + BUY_VOLUME, qty);
        add(second + BUY_PAID, (__int128)price * qty);
    }
}

static inline void add_quote(int64_t *second, int64_t ts, int64_t id, int64_t bid, int64_t bid_qty, int64_t ask,
                             int64_t ask_qty)
{
    if (second[QUOTES]++) {
        add(second + WEIGHTED, (__int128)(second[BEST_ASK] - second[BEST_BID]) * (ts - second[LAST_TS]));
    } else {
        second[FIRST_TS] = ts;
        second[FIRST_UPDATE] = id;
    }
    second[LAST_TS] = ts;
    second[UPDATE] = id;
    second[BEST_BID] = bid;
    second[BEST_BID_QTY] = bid_qty;
    second[BEST_ASK] = ask;
    second[BEST_ASK_QTY] = ask_qty;
}

/* Where trades and quotes, each by themselves, have come to. */
struct reached {
    int64_t trade, traded, quote, quoted;
};

/* Rows of one symbol into the `most` seconds from `begin` on (nanoseconds). How many rows were taken: all of them where
   trades and quotes are in the order of ids and of time, within these seconds, and no number is too large.  */
EXPORT int64_t lake_seconds(int64_t count, const uint8_t *kinds, const int64_t *const *columns, int64_t begin,
                            int64_t most, int64_t *seconds, struct reached *reached)
{
    const int64_t *all_ts = columns[TS], *ids = columns[IDS], *price = columns[PRICE], *qty = columns[QTY];
    const int64_t *ask = columns[ASK], *ask_qty = columns[ASK_QTY];
    int64_t trade = reached->trade, traded = reached->traded, quote = reached->quote, quoted = reached->quoted;
    int64_t quotes = 0, row = 0;
    for (; row < count; row++) {
        int64_t ts = all_ts[row], id = ids[row];
        int of_quote = kinds[row] == QUOTE;
        if (ts < begin || ts - begin >= most * NANOSECONDS || id <= (of_quote ? quote : trade))
            break;
        int64_t number = (ts - begin) / NANOSECONDS, *second = seconds + number * FIELDS;
        if (of_quote) {
            if (ts < quoted || !is_quote(ts, id, price[row], qty[row], ask[quotes], ask_qty[quotes]))
                break;
            add_quote(second, ts, id, price[row], qty[row], ask[quotes], ask_qty[quotes]);
            quotes++;
            quoted = ts;
            quote = id;
        } else {
            int64_t at = begin + number * NANOSECONDS;
            if (at < traded || !is_trade(ts, id, price[row], qty[row]))
                break;
            add_trade(second, kinds[row] == BUY, id, price[row], qty[row]);
            traded = at;
            trade = id;
        }
    }
    *reached = (struct reached){trade, traded, quote, quoted};
    return row;
}

/* What columns hold of one symbol, trades and quotes each by themselves. `is_odd`: ids of trades have a hole, seconds of
   trades go back, times or ids of quotes do, or a number is none that a second may hold. `lowest` and `highest`: the
   first and the last second, where nothing is odd.  */
struct run {
    int64_t is_odd, lowest, highest, trades, first_id, last_id, first_second, last_second;
    int64_t quotes, first_update, update, first_ts, last_ts;
};

/* How many rows are of one of the `symbols`, up to the first that is not. */
EXPORT int64_t lake_runs(int64_t count, const uint8_t *kinds, const uint16_t *symbol, const int64_t *const *columns,
                         int64_t symbols, struct run *runs)
{
    const int64_t *all_ts = columns[TS], *ids = columns[IDS], *price = columns[PRICE], *qty = columns[QTY];
    const int64_t *ask = columns[ASK], *ask_qty = columns[ASK_QTY];
    int64_t quotes = 0, row = 0;
    for (; row < count && symbol[row] < symbols; row++) {
        struct run *run = runs + symbol[row];
        int64_t ts = all_ts[row], id = ids[row];
        if (kinds[row] == QUOTE) {
            if (!run->quotes++) {
                run->first_update = id;
                run->first_ts = ts;
            } else if (ts < run->last_ts || id <= run->update) {
                run->is_odd = 1;
            }
            if (!is_quote(ts, id, price[row], qty[row], ask[quotes], ask_qty[quotes]))
                run->is_odd = 1;
            quotes++;
            run->update = id;
            run->last_ts = ts;
        } else {
            int64_t second = ts / NANOSECONDS;
            if (!run->trades++) {
                run->first_id = id;
                run->first_second = second;
            } else if (id - run->last_id != 1 || second < run->last_second) {
                run->is_odd = 1;
            }
            if (!is_trade(ts, id, price[row], qty[row]))
                run->is_odd = 1;
            run->last_id = id;
            run->last_second = second;
        }
    }
    for (struct run *run = runs; run < runs + symbols; run++) {
        int64_t first = run->first_ts / NANOSECONDS, last = run->last_ts / NANOSECONDS;
        run->lowest = run->trades && (!run->quotes || run->first_second < first) ? run->first_second : first;
        run->highest = run->trades && (!run->quotes || run->last_second > last) ? run->last_second : last;
    }
    return row;
}

/* Where the open seconds of all symbols are: each symbol has `window` slots, a power of two, and a second of it the one
   of its last bits; there is the place of its row, or -1. The last of the `spare` places are used first.  */
struct board {
    int64_t window, spare;
    int32_t *slots, *places;
    int64_t *rows;
};

/* Columns of which `lake_runs` has seen all rows. Of each symbol: the second from which on its rows are taken, and its
   number on the board. How many rows were looked at: all of them if there was room.  */
EXPORT int64_t lake_tally(int64_t count, const uint8_t *kinds, const uint16_t *symbol, const int64_t *const *columns,
                          const int64_t *since, const int64_t *numbers, struct board *board)
{
    const int64_t *all_ts = columns[TS], *ids = columns[IDS], *price = columns[PRICE], *qty = columns[QTY];
    const int64_t *ask = columns[ASK], *ask_qty = columns[ASK_QTY];
    int64_t quotes = 0, row = 0;
    for (; row < count; row++) {
        int64_t ts = all_ts[row], number = ts / NANOSECONDS, owner = numbers[symbol[row]];
        int of_quote = kinds[row] == QUOTE;
        if (number >= since[symbol[row]]) {
            int32_t *slot = board->slots + owner * board->window + (number & (board->window - 1));
            if (*slot < 0) {
                if (!board->spare)
                    break;
                *slot = board->places[--board->spare];
                memset(board->rows + *slot * (int64_t)FIELDS, 0, FIELDS * sizeof(int64_t));
                board->rows[*slot * (int64_t)FIELDS + SECOND] = number;
                board->rows[*slot * (int64_t)FIELDS + OWNER] = owner;
            }
            int64_t *second = board->rows + *slot * (int64_t)FIELDS;
            if (of_quote)
                add_quote(second, ts, ids[row], price[row], qty[row], ask[quotes], ask_qty[quotes]);
            else
                add_trade(second, kinds[row] == BUY, ids[row], price[row], qty[row]);
        }
        quotes += of_quote;
    }
    return row;
}

/* The quotes of open seconds, out of columns that were tallied: into a block of `into` for each place of which `begins`
   is not below 0 and says where it begins; columns of it stand behind each other, each as long as the second has
   quotes. `counts`: how many there are by now. How many rows were looked at: all of them if no second had more.  */
EXPORT int64_t lake_quotes(int64_t count, const uint8_t *kinds, const uint16_t *symbol, const int64_t *const *columns,
                           const int64_t *numbers, const struct board *board, const int64_t *begins, int64_t *counts,
                           int64_t *into)
{
    const int64_t *all_ts = columns[TS], *const fields[] = {columns[TS], columns[IDS], columns[PRICE], columns[QTY]};
    int64_t quotes = 0, row = 0;
    for (; row < count; row++) {
        int64_t number = all_ts[row] / NANOSECONDS, owner = numbers[symbol[row]];
        if (kinds[row] != QUOTE)
            continue;
        int32_t place = board->slots[owner * board->window + (number & (board->window - 1))];
        if (place >= 0 && begins[place] >= 0 && board->rows[place * (int64_t)FIELDS + SECOND] == number) {
            int64_t most = board->rows[place * (int64_t)FIELDS + QUOTES], *at = into + begins[place] + counts[place];
            if (counts[place]++ >= most)
                break;
            for (int field = 0; field < 4; field++, at += most)
                *at = fields[field][row];
            at[0] = columns[ASK][quotes];
            at[most] = columns[ASK_QTY][quotes];
        }
        quotes++;
    }
    return row;
}

/* What is known of a symbol before a second: the highest trade id, and the quote that stands if one does. */
struct before {
    int64_t top, has_book, ts, update, bid, bid_qty, ask, ask_qty;
};

/* Until when a second's quotes stand at most: the one from before it, and the last of its own. */
struct limits {
    int64_t before, own;
};

/* Closes seconds, those of each symbol in the order of time. OWNER says which of `before` is the symbol's; that goes on
   to what is known behind its last second. `limits`: of each second, or nothing where no quote ceased to stand.  */
EXPORT void lake_close(int64_t count, int64_t *seconds, struct before *before, const struct limits *limits)
{
    for (int64_t *second = seconds, *end = seconds + count * FIELDS; second < end; second += FIELDS) {
        struct before *known = before + second[OWNER];
        int64_t begin = second[SECOND] * NANOSECONDS, over = begin + NANOSECONDS;
        struct limits limit = limits ? *limits++ : (struct limits){over, over};
        int64_t until = limit.before;
        second[LIVE_NS] = 0;
        if (second[TRADES]) {
            second[IS_COMPLETE] = known->top >= 0 && second[LAST_ID] - known->top == second[TRADES];
            known->top = second[LAST_ID];
        }
        if (second[QUOTES]) {
            add(second + WEIGHTED, (__int128)(second[BEST_ASK] - second[BEST_BID]) * (limit.own - second[LAST_TS]));
            second[LIVE_NS] = limit.own - second[FIRST_TS];
            if (until > second[FIRST_TS])
                until = second[FIRST_TS];
        }
        if (known->has_book) {
            add(second + WEIGHTED, (__int128)(known->ask - known->bid) * (until - begin));
            second[LIVE_NS] += until - begin;
            known->has_book = until == over;
        }
        if (second[QUOTES]) {
            *known = (struct before){known->top, limit.own == over, second[LAST_TS], second[UPDATE], second[BEST_BID],
                                     second[BEST_BID_QTY], second[BEST_ASK], second[BEST_ASK_QTY]};
        } else if (known->has_book) {
            second[LAST_TS] = known->ts;
            second[UPDATE] = known->update;
            second[BEST_BID] = known->bid;
            second[BEST_BID_QTY] = known->bid_qty;
            second[BEST_ASK] = known->ask;
            second[BEST_ASK_QTY] = known->ask_qty;
        }
        second[HAS_BOOK] = known->has_book;
    }
}

static inline __int128 sum(const int64_t *halves)
{
    return (__int128)((unsigned __int128)(uint64_t)halves[1] << 64 | (uint64_t)halves[0]);
}

/* The double that is nearest to a quotient, of two that are equally near the even one. `by` is below 2**126.  */
static double nearest(__int128 number, __int128 by)
{
    unsigned __int128 left = number < 0 ? -(unsigned __int128)number : (unsigned __int128)number, divisor = by;
    if (!(left >> 53) && !(divisor >> 53))
        return (double)(int64_t)number / (double)(int64_t)by;
    if (!left)
        return 0;
    unsigned __int128 quotient = left / divisor;
    int64_t exponent = 1023;
    for (left %= divisor; !(quotient >> 54); left %= divisor) {  /* at least two bits more than a double has */
        int bits = divisor >> 96 ? 1 : 32;
        left <<= bits;
        quotient = quotient << bits | left / divisor;
        exponent -= bits;
    }
    int is_more = left != 0;
    while (quotient >> 63) {
        int bits = quotient >> 79 ? 16 : 1;
        is_more |= (quotient & ((1u << bits) - 1)) != 0;
        quotient >>= bits;
        exponent += bits;
    }
    uint64_t power = (uint64_t)exponent << 52;
    double scale, rounded = (double)(int64_t)((uint64_t)quotient | (uint64_t)is_more);
    memcpy(&scale, &power, sizeof scale);
    return number < 0 ? -rounded * scale : rounded * scale;
}

/* What a bar says in numbers with a fraction, in its order; a column each. */
enum {
    OPENS, HIGHS, LOWS, CLOSES, VOLUMES, QUOTE_VOLUMES, VWAPS, BIDS, ASKS, SPREADS, BID_QTYS, ASK_QTYS, MEAN_SPREADS,
    BUY_VOLUMES, BUY_QUOTE_VOLUMES
};

/* Closed seconds, in units of which `unit` are one; where nothing is divided by nothing, 0. `is_large` is set where it
   takes more than 128 bits: there nothing is said of the mean price.  */
EXPORT void lake_quotients(int64_t count, const int64_t *seconds, int64_t unit, double *into, uint8_t *is_large)
{
    const __int128 square = (__int128)unit * unit;
    const int prices[] = {OPEN, HIGH, LOW, CLOSE}, book[] = {BEST_BID, BEST_ASK, BEST_BID_QTY, BEST_ASK_QTY};
    const int of_book[] = {BIDS, ASKS, BID_QTYS, ASK_QTYS};
    for (int64_t row = 0; row < count; row++, seconds += FIELDS, into++) {
        __int128 volume = sum(seconds + VOLUME), paid = sum(seconds + PAID);
        for (int price = 0; price < 4; price++) {
            into[(OPENS + price) * count] = nearest(seconds[prices[price]], unit);
            into[of_book[price] * count] = nearest(seconds[book[price]], unit);
        }
        into[SPREADS * count] = nearest((__int128)seconds[BEST_ASK] - seconds[BEST_BID], unit);
        into[VOLUMES * count] = nearest(volume, unit);
        into[QUOTE_VOLUMES * count] = nearest(paid, square);
        into[BUY_VOLUMES * count] = nearest(sum(seconds + BUY_VOLUME), unit);
        into[BUY_QUOTE_VOLUMES * count] = nearest(sum(seconds + BUY_PAID), square);
        is_large[row] = volume >> 66 != 0;
        into[VWAPS * count] = volume && !is_large[row] ? nearest(paid, volume * unit) : 0;
        into[MEAN_SPREADS * count] =
            seconds[LIVE_NS] ? nearest(sum(seconds + WEIGHTED), (__int128)seconds[LIVE_NS] * unit) : 0;
    }
}

/* --- from trades to windows of time ---------------------------------------------------------------------------- */

#ifdef __GNUC__
#define ALWAYS inline __attribute__((always_inline))
#else
#define ALWAYS inline
#endif

/* Numbers that are multiples of a power of ten are made smaller by its odd factor: by the inverse of that modulo 2^64,
   which takes what is no multiple beyond the limit. The power of two stays; to a double it is nothing.  */
struct trim {
    uint64_t inverse, limit;  /* the limit is below 2^62 */
    int64_t twos;
};

/* A window. Prices and sizes are trimmed. */
struct window {
    uint64_t begin, last_id, first_id, id_sum, trades, buys, open, high, low, close, volume, bought, paid, buy_paid;
    uint64_t largest;  /* of the sizes */
};

struct windows {
    uint64_t width;                /* nanoseconds */
    int64_t most;                  /* how many there is room for */
    uint64_t *whole[6];            /* begin, trades, buys, first id, last id, sum of ids: a number a window each */
    double *broken[9];             /* open, high, low, close, volume, bought, paid, paid by buyers, paid a piece */
    struct trim price, size;
    double price_unit, size_unit;  /* what makes the trimmed ones one */
    int64_t count;                 /* windows that have begun */
    struct window open;            /* the last one of them */
};

struct trades {
    int64_t count;
    const uint64_t *ts, *ids, *prices, *sizes;
    const int32_t *sides;
    int64_t buy;
};

static ALWAYS uint64_t lower(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

static ALWAYS uint64_t higher(uint64_t one, uint64_t other)
{
    return one > other ? one : other;
}

/* A window as its numbers, each rounded once; no where one is too large for that. */
static ALWAYS int put_window(const struct windows *all, const struct window *now)
{
    const double units = all->price_unit * all->size_unit, priced = (double)now->volume * all->price_unit;
    const int64_t at = all->count - 1, twos = all->price.twos + all->size.twos;
    int64_t most_paid;
    /* odd numbers up to 2^53, times a power of two, are doubles */
    if (__builtin_mul_overflow((int64_t)now->high, (int64_t)now->volume, &most_paid) || most_paid >> twos >> 53
        || now->high >> all->price.twos >> 53 || now->volume >> all->size.twos >> 53
        || priced >= 9e15 * (double)((int64_t)1 << twos))
        return 0;
    all->whole[0][at] = now->begin;
    all->whole[1][at] = now->trades;
    all->whole[2][at] = now->buys;
    all->whole[3][at] = now->first_id;
    all->whole[4][at] = now->last_id;
    all->whole[5][at] = now->id_sum;
    all->broken[0][at] = (double)(int64_t)now->open / all->price_unit;
    all->broken[1][at] = (double)(int64_t)now->high / all->price_unit;
    all->broken[2][at] = (double)(int64_t)now->low / all->price_unit;
    all->broken[3][at] = (double)(int64_t)now->close / all->price_unit;
    all->broken[4][at] = (double)(int64_t)now->volume / all->size_unit;
    all->broken[5][at] = (double)(int64_t)now->bought / all->size_unit;
    all->broken[6][at] = (double)(int64_t)now->paid / units;
    all->broken[7][at] = (double)(int64_t)now->buy_paid / units;
    all->broken[8][at] = (double)(int64_t)now->paid / priced;  /* no number where nothing was traded */
    return 1;
}

/* Takes rows into the window as long as they belong to it and their ids rise, as the first one does. Where they end. */
typedef int64_t take_rows(const struct windows *all, struct window *now, const struct trades *trades, int64_t row);

static ALWAYS int64_t take_plainly(const struct windows *all, struct window *now, const struct trades *trades,
                                   int64_t row)
{
    const int64_t first = row;
    do
        now->id_sum += trades->ids[row++];
    while (row < trades->count && trades->ts[row] - now->begin < all->width
           && (int64_t)(trades->ids[row] - trades->ids[row - 1]) > 0);
    for (int64_t at = first; at < row; at++) {  /* no branch for the side: it cannot be foretold */
        uint64_t price = trades->prices[at] * all->price.inverse, size = trades->sizes[at] * all->size.inverse;
        uint64_t paid = price * size, bought = -(uint64_t)(trades->sides[at] == trades->buy);
        now->high = higher(price, now->high);
        now->low = lower(price, now->low);
        now->largest = higher(size, now->largest);
        now->buys -= bought;
        now->volume += size;
        now->bought += size & bought;
        now->paid += paid;
        now->buy_paid += paid & bought;
    }
    return row;
}

#if defined(__x86_64__) && defined(__GNUC__)
#define WIDE __attribute__((target("avx512f,avx512dq,avx512vl")))

/* Of each of these the sum of its eight numbers. */
WIDE static inline __m256i four_sums(__m512i a, __m512i b, __m512i c, __m512i d)
{
    const __m512i ab = _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    const __m512i cd = _mm512_add_epi64(_mm512_unpacklo_epi64(c, d), _mm512_unpackhi_epi64(c, d));
    const __m256i ab_half = _mm256_add_epi64(_mm512_castsi512_si256(ab), _mm512_extracti64x4_epi64(ab, 1));
    const __m256i cd_half = _mm256_add_epi64(_mm512_castsi512_si256(cd), _mm512_extracti64x4_epi64(cd, 1));
    return _mm256_add_epi64(_mm256_permute2x128_si256(ab_half, cd_half, 0x20),
                            _mm256_permute2x128_si256(ab_half, cd_half, 0x31));
}

/* The same, eight rows at once. */
WIDE static inline int64_t take_widely(const struct windows *all, struct window *now, const struct trades *trades,
                                       int64_t row)
{
    const __m512i begin = _mm512_set1_epi64((int64_t)now->begin), width = _mm512_set1_epi64((int64_t)all->width);
    const __m512i by_price = _mm512_set1_epi64((int64_t)all->price.inverse);
    const __m512i by_size = _mm512_set1_epi64((int64_t)all->size.inverse), none = _mm512_setzero_si512();
    const __m256i buy = _mm256_set1_epi32((int32_t)trades->buy);
    const int64_t start = row;
    __m512i high = none, low = _mm512_set1_epi64(-1), largest = none, volume = none, bought = none, paid = none;
    __m512i buy_paid = none;
    __mmask8 in, known = 1;  /* rows that count; the one before which none need be looked at */
    do {
        const __mmask8 there = trades->count - row < 8 ? (__mmask8)((1 << (trades->count - row)) - 1) : 0xFF;
        const __m512i ids = _mm512_maskz_loadu_epi64(there, trades->ids + row);
        const __m512i before = _mm512_maskz_loadu_epi64(there & ~known, trades->ids + row - 1);
        const __m512i since = _mm512_sub_epi64(_mm512_maskz_loadu_epi64(there, trades->ts + row), begin);
        in = there & _mm512_cmplt_epu64_mask(since, width)
             & (known | _mm512_cmpgt_epi64_mask(_mm512_sub_epi64(ids, before), none));
        if (in != 0xFF)
            in = (__mmask8)((in ^ (in + 1)) >> 1);  /* those before the first that does not */
        const __mmask8 buys = _mm256_mask_cmpeq_epi32_mask(in, _mm256_maskz_loadu_epi32(in, trades->sides + row), buy);
        const __m512i price = _mm512_mullo_epi64(_mm512_maskz_loadu_epi64(in, trades->prices + row), by_price);
        const __m512i size = _mm512_mullo_epi64(_mm512_maskz_loadu_epi64(in, trades->sizes + row), by_size);
        const __m512i worth = _mm512_mullo_epi64(price, size);
        high = _mm512_max_epu64(high, price);
        low = _mm512_mask_min_epu64(low, in, low, price);
        largest = _mm512_max_epu64(largest, size);
        volume = _mm512_add_epi64(volume, size);
        bought = _mm512_mask_add_epi64(bought, buys, bought, size);
        paid = _mm512_add_epi64(paid, worth);
        buy_paid = _mm512_mask_add_epi64(buy_paid, buys, buy_paid, worth);
        now->buys += (uint64_t)__builtin_popcount(buys);
        row += 8;
        known = 0;
    } while (in == 0xFF);
    row += __builtin_popcount(in) - 8;
    uint64_t sums[4];
    _mm256_storeu_si256((__m256i *)sums, four_sums(volume, bought, paid, buy_paid));
    now->volume += sums[0];
    now->bought += sums[1];
    now->paid += sums[2];
    now->buy_paid += sums[3];
    now->high = higher(now->high, _mm512_reduce_max_epu64(high));
    now->low = lower(now->low, _mm512_reduce_min_epu64(low));
    now->largest = higher(now->largest, _mm512_reduce_max_epu64(largest));
    const uint64_t id = trades->ids[start], count = (uint64_t)(row - start);
    if (trades->ids[row - 1] - id == count - 1)  /* they rise, so none is left out */
        now->id_sum += count * id + count * (count - 1) / 2;
    else
        for (int64_t at = start; at < row; at++)
            now->id_sum += trades->ids[at];
    return row;
}
#endif

/* Whether the sums of a window are what they should be: no number was too large or had more digits than was said. What
   was paid may be too much; that the highest price and the volume will tell.  */
static ALWAYS int is_sound(const struct windows *all, const struct window *now)
{
    uint64_t most, most_id;
    return now->high <= all->price.limit && now->largest <= all->size.limit
           && !__builtin_mul_overflow(now->largest, now->trades, &most) && !(most >> 62)
           && !__builtin_mul_overflow(now->last_id, now->trades, &most_id) && !(most_id >> 62);
}

/* Trades of one symbol into windows; one without a trade is none, a trade that comes twice in a row counts once. How many
   rows were taken: all of them where windows come in the order of time, ids within each in theirs, and no number is too
   large, or has more digits than was said. What was begun goes on with the next rows; none at all put the last window.
   Numbers are not below zero.  */
static ALWAYS int64_t windows_of(const struct trades *trades, struct windows *all, take_rows *take)
{
    const uint64_t *ts = trades->ts, *ids = trades->ids, width = all->width;
    struct window now = all->open;
    int64_t row = 0;
    if (!trades->count) {
        if (all->count && !put_window(all, &now))
            return -1;
        return 0;
    }
    while (row < trades->count) {
        const int64_t first = row;
        if (all->count && ids[row] == now.last_id) {
            row++;
            continue;
        }
        if (!all->count || ts[row] - now.begin >= width) {
            const uint64_t price = trades->prices[row] * all->price.inverse;
            if (all->count && (ts[row] < now.begin || !put_window(all, &now)))
                return row;
            if (ts[row] >> 63 || all->count == all->most)
                return row;
            /* mostly the next one: a guess costs less than a division */
            const int is_next = all->count && ts[row] - now.begin - width < width;
            const uint64_t begin = is_next ? now.begin + width : ts[row] - ts[row] % width;
            all->count++;
            now = (struct window){.begin = begin, .first_id = ids[row], .open = price, .high = price, .low = price};
        } else if (ids[row] < now.last_id) {
            return row;
        }
        row = take(all, &now, trades, row);
        now.trades += (uint64_t)(row - first);
        now.last_id = ids[row - 1];
        now.close = trades->prices[row - 1] * all->price.inverse;
        if (!is_sound(all, &now))
            return first;
    }
    all->open = now;
    return row;
}

/* Columns are ts, ids, prices and sizes. */
EXPORT int64_t lake_windows(int64_t count, const uint64_t *const *columns, const int32_t *sides, int64_t buy,
                            struct windows *all)
{
    const struct trades trades = {count, columns[0], columns[1], columns[2], columns[3], sides, buy};
    return windows_of(&trades, all, take_plainly);
}

#ifdef WIDE
EXPORT int lake_is_wide(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")
           && __builtin_cpu_supports("avx512vl");
}

WIDE EXPORT int64_t lake_wide_windows(int64_t count, const uint64_t *const *columns, const int32_t *sides, int64_t buy,
                                      struct windows *all)
{
    const struct trades trades = {count, columns[0], columns[1], columns[2], columns[3], sides, buy};
    return windows_of(&trades, all, take_widely);
}
#else
EXPORT int lake_is_wide(void)
{
    return 0;
}

EXPORT int64_t lake_wide_windows(int64_t count, const uint64_t *const *columns, const int32_t *sides, int64_t buy,
                                 struct windows *all)
{
    return lake_windows(count, columns, sides, buy, all);  /* never asked for */
}
#endif
