/* The innermost loops of a busy moment. `shared/kernels.py` says what each is given; what each does is done once more,
   in numpy, by the module that calls it, and tests hold the two against each other. Nothing here allocates, and nothing
   beyond the sizes given is read or written.  */

#include <stdint.h>
#include <string.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

enum { BUY = 0, SELL = 1, QUOTE = 2 };
enum { TS, TS_RECV, IDS, PRICE, QTY, ASK, ASK_QTY, TS_SENT, COLUMNS };

/* What follows a text: a number in its column, or a word, or nothing more. */
enum { WHOLE, MONEY, TIME, SIDE, WORD, NOTHING };

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

/* Whole, unmasked text messages at the start of `data`, at most `most`: how many there are, and where they end. */
EXPORT int64_t lake_cut(const uint8_t *data, int64_t size, int64_t most, int64_t *begins, int64_t *ends)
{
    int64_t count = 0, at = 0;
    while (count < most && size - at >= 2 && data[at] == 0x81 && data[at + 1] <= 126) {
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
    const uint8_t *text;
    const struct piece *pieces;
    const int32_t *first;     /* of each stream its first piece */
    const uint16_t *symbol;
};

struct rows {
    uint8_t *is_plain, *kinds;
    uint16_t *symbol;
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

/* A number of at most `most` digits as JSON writes it: without zeros before it. */
static inline int64_t whole(struct place *place, int most)
{
    const uint8_t *at = place->at, *end = place->end, *begin = at;
    int64_t number = 0;
    while (end - at >= 8 && at - begin + 8 <= most && are_digits(word_at(at))) {
        number = number * 100000000 + eight_digits(word_at(at));
        at += 8;
    }
    while (at < end && (uint8_t)(*at - '0') < 10 && at - begin <= most)
        number = number * 10 + (*at++ - '0');
    place->at = at == begin || at - begin > most || (*begin == '0' && at - begin > 1) ? 0 : at;
    return number;
}

/* A number with eight digits after its point and at most ten before it, in units of the last. */
static inline int64_t money(struct place *place)
{
    int64_t units = whole(place, 10);
    const uint8_t *at = place->at;
    if (!at || place->end - at < 9 || *at != '.' || !are_digits(word_at(at + 1))) {
        place->at = 0;
        return 0;
    }
    place->at = at + 9;
    return units * 100000000 + eight_digits(word_at(at + 1));
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

/* Whether a text stands here, behind which it goes on. */
static inline int stands(struct place *place, const uint8_t *text, int64_t size)
{
    const uint8_t *at = place->at;
    int64_t done = 0;
    if (place->end - at < size)
        return 0;
    for (; size - done >= 8; done += 8)
        if (word_at(at + done) != word_at(text + done))
            return 0;
    for (; done < size; done++)
        if (at[done] != text[done])
            return 0;
    place->at = at + size;
    return 1;
}

/* The stream whose frames are like this one; -1 where there is none. */
static inline int32_t stream_of(const struct streams *streams, const uint8_t *frame, int64_t size)
{
    const uint8_t *name = frame + streams->name_at, *end = 0;
    int32_t stream;
    if (size > streams->name_at + 8)
        end = memchr(name, '"', size - streams->name_at);
    if (!end || end - frame < 7)
        return -1;
    uint64_t key = word_at(name) * 0x9E3779B97F4A7C15u ^ word_at(end - 7);
    int64_t slot = (int64_t)(key * 0xFF51AFD7ED558CCDu >> 40) & streams->mask;
    for (; (stream = streams->slots[slot]) >= 0; slot = (slot + 1) & streams->mask)
        if (streams->keys[stream] == key)
            return stream;
    return -1;
}

static inline void read_one(const struct streams *streams, struct place place, const struct rows *rows, int64_t row)
{
    int32_t stream = stream_of(streams, place.at, place.end - place.at);
    if (stream < 0)
        return;
    rows->symbol[row] = streams->symbol[stream];
    for (const struct piece *piece = streams->pieces + streams->first[stream]; place.at; piece++) {
        int64_t *column = rows->columns[piece->column];
        if (!stands(&place, streams->text + piece->at, piece->size))
            return;
        switch (piece->follows) {
        case WHOLE: column[row] = whole(&place, 16); break;
        case MONEY: column[row] = money(&place); break;
        case TIME: column[row] = nanoseconds(&place); break;
        case SIDE: rows->kinds[row] = is_true(&place) ? SELL : BUY; break;
        case WORD: is_true(&place); break;
        default: rows->is_plain[row] = place.at == place.end; return;
        }
    }
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

/* --- from columns to lines of the archive ---------------------------------------------------------------------- */

struct lines {
    int64_t digits;
    const uint8_t *kinds;
    const uint16_t *symbol;
    const int64_t *columns[COLUMNS];
    const int32_t *rank;      /* of each row its place among the trades, or among the quotes */
    const uint8_t *text;
    const struct piece *heads;  /* how the lines of each symbol begin */
    const struct piece *pieces[3];  /* how they go on, by kind */
};

static const char PAIRS[] =
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
    "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

static const uint64_t POWERS[] = {
    1u, 10u, 100u, 1000u, 10000u, 100000u, 1000000u, 10000000u, 100000000u, 1000000000u, 10000000000u, 100000000000u,
    1000000000000u, 10000000000000u, 100000000000000u, 1000000000000000u, 10000000000000000u, 100000000000000000u,
    1000000000000000000u,
};

static inline void four(uint8_t *out, uint32_t number)
{
    memcpy(out, PAIRS + 2 * (number / 100), 2);
    memcpy(out + 2, PAIRS + 2 * (number % 100), 2);
}

static inline uint8_t *eight(uint8_t *out, uint32_t number)
{
    four(out, number / 10000);
    four(out + 4, number % 10000);
    return out + 8;
}

/* A number below 10**8 without zeros before it; eight bytes are written. */
static inline uint8_t *up_to_eight(uint8_t *out, uint32_t number)
{
    uint8_t text[8];
    int zeros = (number < 10000000) + (number < 1000000) + (number < 100000) + (number < 10000) + (number < 1000)
                + (number < 100) + (number < 10);
    eight(text, number);
    uint64_t word = word_at(text) >> 8 * zeros;
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

/* Sixteen bytes at a time, beyond the end of the text: a call that copies just so many costs more than all else. */
static inline uint8_t *copy(uint8_t *out, const uint8_t *text, int size)
{
    for (int at = 0; at < size; at += 16)
        memcpy(out + at, text + at, 16);
    return out + size;
}

/* Lines of rows, in the order given, one behind the other; `ends` of each. Sixteen bytes behind the last are spoilt. */
EXPORT void lake_lines(const struct lines *given, int64_t count, const int64_t *order, uint8_t *out, int64_t *ends)
{
    const struct lines lines = *given;
    uint8_t *begin = out;
    for (int64_t at = 0; at < count; at++) {
        int64_t row = order[at], rank = lines.rank[row];
        const struct piece *head = lines.heads + lines.symbol[row], *piece = lines.pieces[lines.kinds[row]];
        out = copy(out, lines.text + head->at, head->size);
        for (;; piece++) {
            out = copy(out, lines.text + piece->at, piece->size);
            if (piece->follows == NOTHING)
                break;
            uint64_t number = lines.columns[piece->column][piece->column >= ASK ? rank : row];
            out = piece->follows == MONEY ? decimal(out, number, lines.digits) : integer(out, number);
        }
        ends[at] = out - begin;
    }
}

/* --- from lines of the archive to columns ---------------------------------------------------------------------- */

/* How the lines of a symbol look. Here WHOLE is a count, MONEY has at most eight digits after its point, TIME is a count
   or null, SIDE is buy or sell, WORD any word of small letters.  */
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

/* A number with one to eight digits after its point and at most ten before it, in units of 10**-8. */
static inline int64_t up_to_eight_digits(struct place *place)
{
    int64_t units = whole(place, 10);
    const uint8_t *at = place->at, *end = place->end;
    int left = 8;
    place->at = 0;
    if (!at || end - at < 2 || *at++ != '.')
        return 0;
    if (end - at >= 8 && are_digits(word_at(at))) {  /* as the venue writes them */
        units = units * 100000000 + eight_digits(word_at(at));
        at += 8;
        left = 0;
    }
    for (; left && at < end && (uint8_t)(*at - '0') < 10; left--)
        units = units * 10 + (*at++ - '0');
    if (left < 8)  /* behind more digits no form goes on */
        place->at = at;
    for (; left; left--)
        units *= 10;
    return units;
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
    found->kinds[row] = QUOTE;
    for (const struct piece *piece = forms->forms[form]; place.at; piece++) {
        int64_t *into = &found->columns[piece->column][piece->column >= ASK ? rank : row];
        if (!stands(&place, forms->text + piece->at, piece->size))
            return 0;
        switch (piece->follows) {
        case WHOLE: *into = natural(&place); break;
        case TIME: *into = natural_or_null(&place); break;
        case MONEY: *into = up_to_eight_digits(&place); break;
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

/* What a second comes to: a row of this many numbers, all 0 where nothing was. Sums of products take two. */
enum {
    TRADES, BUYS, FIRST_ID, LAST_ID, OPEN, CLOSE, HIGH, LOW, VOLUME, BUY_VOLUME, PAID, PAID_HIGH, BUY_PAID,
    BUY_PAID_HIGH, ID_SUM, QUOTES, FIRST_TS, LAST_TS, WEIGHTED, UPDATE, BEST_BID, BEST_BID_QTY, BEST_ASK,
    BEST_ASK_QTY, FIELDS
};

static const int64_t NANOSECONDS = 1000000000;

static inline void add_product(int64_t *sum, int64_t one, int64_t other)
{
    unsigned __int128 all = (unsigned __int128)(uint64_t)sum[1] << 64 | (uint64_t)sum[0];
    all += (unsigned __int128)(uint64_t)one * (uint64_t)other;
    sum[0] = (int64_t)(uint64_t)all;
    sum[1] = (int64_t)(uint64_t)(all >> 64);
}

static inline int add_trade(int64_t *second, int is_buy, int64_t id, int64_t price, int64_t qty)
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
    add_product(second + PAID, price, qty);
    int64_t bought = is_buy ? qty : 0;  /* added always: who buys and who sells cannot be foretold */
    second[BUYS] += is_buy;
    second[BUY_VOLUME] += bought;  /* at most the volume */
    add_product(second + BUY_PAID, price, bought);
    return !__builtin_add_overflow(second[VOLUME], qty, second + VOLUME)
           && !__builtin_add_overflow(second[ID_SUM], id, second + ID_SUM);
}

static inline int add_quote(int64_t *second, int64_t ts, int64_t id, int64_t bid, int64_t bid_qty, int64_t ask,
                            int64_t ask_qty)
{
    int64_t weighted = 0;
    if (!second[QUOTES]++)
        second[FIRST_TS] = ts;
    else if (__builtin_mul_overflow(second[BEST_ASK] - second[BEST_BID], ts - second[LAST_TS], &weighted))
        return 0;
    second[LAST_TS] = ts;
    second[UPDATE] = id;
    second[BEST_BID] = bid;
    second[BEST_BID_QTY] = bid_qty;
    second[BEST_ASK] = ask;
    second[BEST_ASK_QTY] = ask_qty;
    return !__builtin_add_overflow(second[WEIGHTED], weighted, second + WEIGHTED);
}

/* Where trades and quotes, each by themselves, have come to. */
struct reached {
    int64_t trade, traded, quote, quoted;
};

/* Rows of one symbol into the `most` seconds from `begin` on (nanoseconds). How many rows were taken: all of them where
   trades and quotes are in the order of ids and of time, within these seconds, and no sum is too large. Numbers are not
   below zero.  */
EXPORT int64_t lake_seconds(int64_t count, const uint8_t *kinds, const int64_t *const *columns, int64_t begin,
                            int64_t most, int64_t *seconds, struct reached *reached)
{
    const int64_t *all_ts = columns[TS], *ids = columns[IDS], *price = columns[PRICE], *qty = columns[QTY];
    const int64_t *ask = columns[ASK], *ask_qty = columns[ASK_QTY];
    int64_t trade = reached->trade, traded = reached->traded, quote = reached->quote, quoted = reached->quoted;
    int64_t quotes = 0, row = 0;
    for (; row < count; row++) {
        int64_t ts = all_ts[row], id = ids[row];
        int is_quote = kinds[row] == QUOTE;
        if (ts < begin || ts - begin >= most * NANOSECONDS || id <= (is_quote ? quote : trade))
            break;
        int64_t number = (ts - begin) / NANOSECONDS, *second = seconds + number * FIELDS;
        if (is_quote) {
            if (ts < quoted || !add_quote(second, ts, id, price[row], qty[row], ask[quotes], ask_qty[quotes]))
                break;
            quotes++;
            quoted = ts;
            quote = id;
        } else {
            int64_t at = begin + number * NANOSECONDS;
            if (at < traded || !add_trade(second, kinds[row] == BUY, id, price[row], qty[row]))
                break;
            traded = at;
            trade = id;
        }
    }
    *reached = (struct reached){trade, traded, quote, quoted};
    return row;
}

/* --- from trades to windows of time ---------------------------------------------------------------------------- */

/* The loops are compiled once more for processors that multiply several numbers of 64 bits at once. */
#if defined(__x86_64__) && defined(__GNUC__)
#define WIDE __attribute__((target("avx512f,avx512dq,avx512vl")))
#endif
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

/* Rows into a window; no where a number is too large or has more digits than was said. */
static ALWAYS int add_rows(struct window *now, struct trim by_price, struct trim by_size, const int64_t *prices,
                           const int64_t *sizes, const int32_t *sides, int64_t buy, int64_t count)
{
    uint64_t largest = 0, most;
    for (int64_t row = 0; row < count; row++) {
        uint64_t price = (uint64_t)prices[row] * by_price.inverse, size = (uint64_t)sizes[row] * by_size.inverse;
        uint64_t paid = price * size, bought = -(uint64_t)(sides[row] == buy);  /* no branch: it cannot be foretold */
        now->high = price > now->high ? price : now->high;
        now->low = price < now->low ? price : now->low;
        largest = size > largest ? size : largest;
        now->buys -= bought;
        now->volume += size;
        now->bought += size & bought;
        now->paid += paid;  /* whether that is too much the highest price and the volume will tell */
        now->buy_paid += paid & bought;
    }
    now->trades += (uint64_t)count;
    now->close = (uint64_t)prices[count - 1] * by_price.inverse;
    now->largest = largest > now->largest ? largest : now->largest;
    return now->high <= by_price.limit && now->largest <= by_size.limit
           && !__builtin_mul_overflow(now->largest, now->trades, &most) && !(most >> 62);
}

/* Trades of one symbol into windows; one without a trade is none, a trade that comes twice in a row counts once. How many
   rows were taken: all of them where windows come in the order of time, ids within each in theirs, and no number is too
   large, or has more digits than was said. What was begun goes on with the next rows; none at all put the last window.
   Numbers are not below zero.  */
static ALWAYS int64_t windows_of(int64_t count, const int64_t *const *columns, const int32_t *sides, int64_t buy,
                                 struct windows *all)
{
    const uint64_t *ts = (const uint64_t *)columns[0], *ids = (const uint64_t *)columns[1], width = all->width;
    const int64_t *prices = columns[2], *sizes = columns[3];
    struct window now = all->open;
    int64_t row = 0;
    if (!count)
        return !all->count || put_window(all, &now) ? 0 : -1;
    while (row < count) {
        int64_t first = row;
        uint64_t most;
        if (all->count && ids[row] == now.last_id) {
            row++;
            continue;
        }
        if (!all->count || ts[row] - now.begin >= width) {
            uint64_t price = (uint64_t)prices[row] * all->price.inverse;
            if (all->count && (ts[row] < now.begin || !put_window(all, &now)))
                return row;
            if (ts[row] >> 63 || all->count == all->most)
                return row;
            all->count++;
            now = (struct window){.begin = ts[row] - ts[row] % width, .last_id = ids[row] - 1, .first_id = ids[row],
                                  .open = price, .high = price, .low = price};
        } else if (ids[row] < now.last_id) {
            return row;
        }
        for (; row < count && ts[row] - now.begin < width && (int64_t)(ids[row] - now.last_id) > 0; row++) {
            now.last_id = ids[row];
            now.id_sum += now.last_id;
        }
        if (!add_rows(&now, all->price, all->size, prices + first, sizes + first, sides + first, buy, row - first)
            || __builtin_mul_overflow(now.last_id, now.trades, &most) || most >> 62)
            return first;
    }
    all->open = now;
    return row;
}

#ifdef WIDE
WIDE static int64_t wide_windows_of(int64_t count, const int64_t *const *columns, const int32_t *sides, int64_t buy,
                                    struct windows *all)
{
    return windows_of(count, columns, sides, buy, all);
}
#endif

EXPORT int64_t lake_windows(int64_t count, const int64_t *const *columns, const int32_t *sides, int64_t buy,
                            struct windows *all)
{
#ifdef WIDE
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return wide_windows_of(count, columns, sides, buy, all);
#endif
    return windows_of(count, columns, sides, buy, all);
}
