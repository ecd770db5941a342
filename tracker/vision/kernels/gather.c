/* A batch in one pass over its bytes: gather, pad with black, crop, flip, and look each byte up.

   A normalization that treats every pixel of a channel alike has 256 results a channel, so a table that the
   torch module filled itself gives the very bits of the module. Plain C with OpenMP where the compiler has it;
   Python sees three functions, whose pointers are those of contiguous tensors. Each returns 0, or 1 where a plan
   names an image or an offset that is not there; then the batch is not to be used. */

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { VALUES = 256, MOST_CHANNELS = 4, LANES = 4, RUN = 8 };

/* Images uint8 (images, planes, height, width), and what is to be taken of them. Without `order` the images are
   taken as they stand; then there is no crop and no flip. One plane serves all channels, or there are as many. */
typedef struct {
    const uint8_t *bytes;
    int64_t images, planes, height, width;
    const int64_t *order, *top, *left;
    const uint8_t *flip;
    int64_t size, padding, channels;
} Batch;

/* Where the crop at one place of the batch meets its image: columns `from` to `to` of the crop, before the flip,
   are columns from + right to to + right of the image; outside is black. */
typedef struct {
    const uint8_t *image;
    int64_t down, right, from, to;
    int flip;
} Crop;

static int find_crop(const Batch *batch, int64_t place, Crop *crop)
{
    int64_t index = place, down = 0, right = 0;
    crop->flip = 0;
    if (batch->order) {
        index = batch->order[place];
        down = batch->top[place] - batch->padding;
        right = batch->left[place] - batch->padding;
        crop->flip = batch->flip[place];
    }
    if (index < 0 || index >= batch->images || down < -batch->padding || down > batch->padding
        || right < -batch->padding || right > batch->padding)
        return 0;
    crop->image = batch->bytes + index * batch->planes * batch->height * batch->width;
    crop->down = down;
    crop->right = right;
    crop->from = right < 0 ? -right : 0;
    crop->to = right > 0 ? batch->width - right : batch->width;
    if (crop->from >= crop->to) /* the padding is wider than the image */
        crop->from = crop->to = batch->width;
    return 1;
}

/* Return the row of the image behind row y of the crop, from column 0 of the image; NULL where it is black. */
static const uint8_t *source_row(const Batch *batch, const Crop *crop, int64_t channel, int64_t y)
{
    int64_t plane = batch->planes == 1 ? 0 : channel, row = y + crop->down;
    if (row < 0 || row >= batch->height || crop->from == crop->to)
        return NULL;
    return crop->image + (plane * batch->height + row) * batch->width;
}

/* `out` is the place of column 0 and `step` leads to that of column 1. Inline, so that the usual steps are
   constants in a loop of their own; in runs, which the compiler unrolls. */
static inline void fill_row(const uint8_t *restrict row, const Crop *crop, const float *restrict table,
                            float *restrict out, int64_t step, int64_t width)
{
    const float black = table[0];
    const int64_t from = crop->from, to = row ? crop->to : from;
    const uint8_t *shifted = row ? row + crop->right : NULL;
    int64_t x = 0;
    for (; x < from; x++)
        out[x * step] = black;
    for (; x + RUN <= to; x += RUN)
        for (int64_t next = x; next < x + RUN; next++)
            out[next * step] = table[shifted[next]];
    for (; x < to; x++)
        out[x * step] = table[shifted[x]];
    for (; x < width; x++)
        out[x * step] = black;
}

/* Three rows of one image side by side, as pixels of three floats; `out` is the place of column 0. */
static inline void fill_pixels(const uint8_t *const rows[3], const Crop *crop, const float *restrict tables,
                               float *restrict out, int64_t step, int64_t width)
{
    const int64_t from = crop->from, to = rows[0] ? crop->to : from;
    const uint8_t *red = NULL, *green = NULL, *blue = NULL;
    if (rows[0])
        red = rows[0] + crop->right, green = rows[1] + crop->right, blue = rows[2] + crop->right;
    for (int64_t x = 0; x < width; x++) {
        const int inside = x >= from && x < to;
        out[x * step] = tables[inside ? red[x] : 0];
        out[x * step + 1] = tables[VALUES + (inside ? green[x] : 0)];
        out[x * step + 2] = tables[2 * VALUES + (inside ? blue[x] : 0)];
    }
}

/* In the order of memory: channel by channel in NCHW, row by row in NHWC. */
static void fill_image(const Batch *batch, const Crop *crop, const float *tables, float *out, int channels_last)
{
    const int64_t width = batch->width, height = batch->height, channels = batch->channels;
    const int64_t pixel = channels_last ? channels : 1, step = crop->flip ? -pixel : pixel;
    const int64_t start = crop->flip ? (width - 1) * pixel : 0; /* of column 0 in its row */
    if (channels_last && channels == 3) {
        for (int64_t y = 0; y < height; y++) {
            const uint8_t *const rows[3] = {source_row(batch, crop, 0, y), source_row(batch, crop, 1, y),
                                            source_row(batch, crop, 2, y)};
            fill_pixels(rows, crop, tables, out + y * width * 3 + start, step, width);
        }
        return;
    }
    for (int64_t line = 0; line < height * channels; line++) {
        const int64_t channel = channels_last ? line % channels : line / height;
        const int64_t y = channels_last ? line / channels : line % height;
        const uint8_t *row = source_row(batch, crop, channel, y);
        float *first = out + start + (channels_last ? y * width * channels + channel : line * width);
        if (step == 1)
            fill_row(row, crop, tables + channel * VALUES, first, 1, width);
        else if (step == -1)
            fill_row(row, crop, tables + channel * VALUES, first, -1, width);
        else
            fill_row(row, crop, tables + channel * VALUES, first, step, width);
    }
}

/* out: float (size, channels, height, width), or with channels last; table: float (channels, 256). */
int look_up(const Batch *batch, const float *table, float *out, int channels_last, int threads)
{
    const int64_t numbers = batch->channels * batch->height * batch->width;
    int wrong = 0;
    (void)threads;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(| : wrong)
    for (int64_t place = 0; place < batch->size; place++) {
        Crop crop;
        if (find_crop(batch, place, &crop))
            fill_image(batch, &crop, table, out + place * numbers, channels_last);
        else
            wrong = 1;
    }
    return wrong;
}

/* out: uint8 (size, channels, height, width). */
int take_bytes(const Batch *batch, uint8_t *out, int threads)
{
    const int64_t width = batch->width;
    int wrong = 0;
    (void)threads;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(| : wrong)
    for (int64_t place = 0; place < batch->size; place++) {
        Crop crop;
        if (!find_crop(batch, place, &crop)) {
            wrong = 1;
            continue;
        }
        uint8_t *to = out + place * batch->channels * batch->height * width;
        for (int64_t channel = 0; channel < batch->channels; channel++)
            for (int64_t y = 0; y < batch->height; y++, to += width) {
                const uint8_t *row = source_row(batch, &crop, channel, y);
                memset(to, 0, (size_t)width);
                if (!row)
                    continue;
                if (!crop.flip)
                    memcpy(to + crop.from, row + crop.from + crop.right, (size_t)(crop.to - crop.from));
                else
                    for (int64_t x = crop.from; x < crop.to; x++)
                        to[width - 1 - x] = row[x + crop.right];
            }
    }
    return wrong;
}

static int same_float(double value, double slack, float *rounded)
{
    *rounded = (float)value;
    return (float)(value - slack) == *rounded && (float)(value + slack) == *rounded;
}

/* Fill the table of one channel of one crop, (unit[byte] - mean) / std, from how often each byte is in it.

   torch computes both statistics in doubles, pixel by pixel, and rounds them to floats. Here they are computed
   from the counts. Both ways err by less than `slack` (Welford's updates: Chan, Golub and LeVeque 1983), so where
   everything within it rounds to one float, that is torch's. Returns 0 where it is not so. */
static int standard_table(const int32_t *count, int64_t pixels, const float *unit, float constant_std, float *table)
{
    double sum = 0, squares = 0, raw = 0, largest = 0;
    int different = 0;
    for (int value = 0; value < VALUES; value++) {
        sum += count[value] * (double)unit[value];
        if (count[value]) {
            largest = unit[value];
            different++;
        }
    }
    if (different == 1) {
        memset(table, 0, VALUES * sizeof *table);
        return pixels > 1;
    }
    const double mean = sum / (double)pixels;
    for (int value = 0; value < VALUES; value++) {
        const double away = unit[value] - mean;
        squares += count[value] * away * away;
        raw += count[value] * (double)unit[value] * unit[value];
    }
    const double std = sqrt(squares / (double)(pixels - 1));
    const double slack = 4.0 * ((double)pixels + VALUES) * 0x1p-53;
    float rounded_mean, rounded_std;
    if (!same_float(mean, slack * largest, &rounded_mean)
        || !same_float(std, slack * std * sqrt(raw / squares), &rounded_std))
        return 0;
    for (int value = 0; value < VALUES; value++)
        table[value] = rounded_std > constant_std ? (unit[value] - rounded_mean) / rounded_std : 0.0f;
    return 1;
}

static void count_bytes(const Batch *batch, const Crop *crop, int64_t channel, int32_t *count)
{
    int32_t lanes[LANES][VALUES] = {{0}}; /* equal bytes side by side do not wait for each other */
    int64_t inside = 0;
    for (int64_t y = 0; y < batch->height; y++) {
        const uint8_t *row = source_row(batch, crop, channel, y);
        if (!row)
            continue;
        int64_t x = crop->from + crop->right;
        const int64_t end = crop->to + crop->right;
        inside += end - x;
        for (; x + LANES <= end; x += LANES)
            for (int lane = 0; lane < LANES; lane++)
                lanes[lane][row[x + lane]]++;
        for (; x < end; x++)
            lanes[0][row[x]]++;
    }
    for (int value = 0; value < VALUES; value++)
        count[value] = lanes[0][value] + lanes[1][value] + lanes[2][value] + lanes[3][value];
    count[0] += (int32_t)(batch->height * batch->width - inside);
}

/* As look_up, each channel of each crop by its own mean and sample standard deviation; constant ones become 0.

   unit: float (256), what each byte is in [0, 1]. doubtful: uint8 (size), set to 1 where the statistics may be
   rounded otherwise than by torch, and the image is to be computed by it; else to 0. */
int standardize(const Batch *batch, const float *unit, float constant_std, float *out, uint8_t *doubtful,
                int channels_last, int threads)
{
    const int64_t pixels = batch->height * batch->width, numbers = batch->channels * pixels;
    int wrong = batch->channels > MOST_CHANNELS;
    if (wrong)
        return 1;
    (void)threads;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(| : wrong)
    for (int64_t place = 0; place < batch->size; place++) {
        Crop crop;
        if (!find_crop(batch, place, &crop)) {
            wrong = 1;
            continue;
        }
        float tables[MOST_CHANNELS * VALUES];
        int sure = 1;
        for (int64_t channel = 0; channel < batch->channels && sure; channel++) {
            int32_t count[VALUES];
            if (channel && batch->planes == 1) {
                memcpy(tables + channel * VALUES, tables, VALUES * sizeof *tables);
                continue;
            }
            count_bytes(batch, &crop, channel, count);
            sure = standard_table(count, pixels, unit, constant_std, tables + channel * VALUES);
        }
        doubtful[place] = !sure;
        if (sure)
            fill_image(batch, &crop, tables, out + place * numbers, channels_last);
    }
    return wrong;
}
