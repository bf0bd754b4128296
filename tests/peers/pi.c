/* A Raspberry Pi's SPI bus and GPIO lines as the kernel shows them, and behind them the emulated chip at the socket that
   KENGELE_TEST_CHIP names; its language is that of src/wire/chip_link.rs. KENGELE_TEST_LINES has the numbers of the lines that go
   to reset, busy, the interrupt, and the transmitter's switch. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/gpio.h>
#include <linux/spi/spidev.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { TRANSFER = 0x01, RESET = 0x02, SWITCH = 0x03, ANSWERS = 0x80, PINS = 0x90 };
enum { LINES = 64, REQUESTS = 16 };

struct request {
    int file, edges, told;
    uint32_t count, offsets[GPIO_V2_LINES_MAX];
};

static pthread_mutex_t asking = PTHREAD_MUTEX_INITIALIZER, known = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int chip = -1, bus = -1, lines = -1, gone, seen;
static unsigned reset, busy, interrupt_line, transmit;
static uint8_t pins, answer_kind, answer[65536], levels[LINES];
static size_t answer_length;
static struct request requests[REQUESTS];
static pthread_t listener;

static int take(void *to, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t got = read(chip, (char *)to + done, length - done);
        if (got <= 0) return 0;
        done += (size_t)got;
    }
    return 1;
}

static void tell_edges(void) {
    for (int r = 0; r < REQUESTS; r++) {
        if (!requests[r].edges) continue;
        for (uint32_t i = 0; i < requests[r].count; i++) {
            if (requests[r].offsets[i] != interrupt_line) continue;
            struct gpio_v2_line_event event = {.id = GPIO_V2_LINE_EVENT_RISING_EDGE, .offset = interrupt_line};
            if (write(requests[r].told, &event, sizeof event) < 0) perror("an edge");
        }
    }
}

static void *listen_to_chip(void *nothing) {
    uint8_t head[3], body[65536];
    while (take(head, 3)) {
        size_t length = head[1] | (size_t)head[2] << 8;
        if (!take(body, length)) break;
        pthread_mutex_lock(&known);
        if (head[0] == PINS) {
            int rises = !(pins & 2) && (body[0] & 2);
            pins = body[0];
            seen = 1;
            if (rises) tell_edges();
        } else {
            answer_kind = head[0];
            answer_length = length;
            memcpy(answer, body, length);
        }
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&known);
    }
    pthread_mutex_lock(&known);
    gone = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&known);
    return nothing;
}

/* Asks the chip, and waits for its answer, which is left in `answer`. */
static int ask(uint8_t kind, const uint8_t *bytes, size_t length) {
    uint8_t message[3 + 65535] = {kind, (uint8_t)length, (uint8_t)(length >> 8)};
    memcpy(message + 3, bytes, length);
    pthread_mutex_lock(&known);
    answer_kind = 0;
    int is_sent = write(chip, message, 3 + length) == (ssize_t)(3 + length);
    while (is_sent && !gone && answer_kind != (kind | ANSWERS)) pthread_cond_wait(&changed, &known);
    int is_answered = is_sent && !gone;
    pthread_mutex_unlock(&known);
    if (!is_answered) errno = EIO;
    return is_answered ? 0 : -1;
}

static int connect_chip(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", getenv("KENGELE_TEST_CHIP"));
    if (sscanf(getenv("KENGELE_TEST_LINES"), "%u %u %u %u", &reset, &busy, &interrupt_line, &transmit) != 4) abort();
    chip = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (chip < 0 || connect(chip, (struct sockaddr *)&address, sizeof address) < 0) return -1;
    gone = seen = 0;
    if (pthread_create(&listener, NULL, listen_to_chip, NULL) != 0) return -1;
    pthread_mutex_lock(&known);
    while (!seen && !gone) pthread_cond_wait(&changed, &known);
    pthread_mutex_unlock(&known);
    return 0;
}

static int set(uint32_t line, int level) {
    int before = levels[line];
    levels[line] = (uint8_t)level;
    if (line == reset && level && !before && seen) return ask(RESET, NULL, 0);
    if (line == transmit) {
        uint8_t way = level ? 2 : 1;
        return ask(SWITCH, &way, 1);
    }
    return 0;
}

static int get(uint32_t line) {
    if (line == busy) return pins & 1;
    if (line == interrupt_line) return pins >> 1 & 1;
    return levels[line];
}

static int give_lines(struct gpio_v2_line_request *wanted) {
    int ends[2], place = 0;
    while (place < REQUESTS && requests[place].count) place++;
    if (place == REQUESTS || pipe2(ends, O_CLOEXEC) < 0) return -1;
    struct request *request = &requests[place];
    request->file = ends[0];
    request->told = ends[1];
    request->edges = (wanted->config.flags & GPIO_V2_LINE_FLAG_EDGE_RISING) != 0;
    memcpy(request->offsets, wanted->offsets, sizeof request->offsets);
    request->count = wanted->num_lines;
    wanted->fd = ends[0];
    for (uint32_t a = 0; a < wanted->config.num_attrs; a++) {
        struct gpio_v2_line_config_attribute *attribute = &wanted->config.attrs[a];
        if (attribute->attr.id != GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES) continue;
        for (uint32_t i = 0; i < wanted->num_lines; i++) {
            if (attribute->mask >> i & 1 && set(wanted->offsets[i], (int)(attribute->attr.values >> i & 1)) < 0) return -1;
        }
    }
    return 0;
}

static int use_lines(struct request *request, unsigned long what, struct gpio_v2_line_values *values) {
    uint64_t mask = values->mask;
    for (uint32_t i = 0; i < request->count; i++) {
        if (!(mask >> i & 1)) continue;
        if (what == GPIO_V2_LINE_SET_VALUES_IOCTL) {
            if (set(request->offsets[i], (int)(values->bits >> i & 1)) < 0) return -1;
        } else if (what == GPIO_V2_LINE_GET_VALUES_IOCTL) {
            values->bits &= ~(1ULL << i);
            values->bits |= (uint64_t)get(request->offsets[i]) << i;
        } else {
            errno = ENOTTY;
            return -1;
        }
    }
    return 0;
}

static int clock_bus(unsigned long what, struct spi_ioc_transfer *parts) {
    if (_IOC_NR(what) != 0) return 0; /* Mode, bits and speed: a wire knows none of them. */
    size_t count = _IOC_SIZE(what) / sizeof *parts, length = 0;
    static uint8_t mosi[65536];
    for (size_t p = 0; p < count; p++) {
        if (parts[p].tx_buf) memcpy(mosi + length, (void *)(uintptr_t)parts[p].tx_buf, parts[p].len);
        else memset(mosi + length, 0, parts[p].len);
        length += parts[p].len;
    }
    if (ask(TRANSFER, mosi, length) < 0) return -1;
    size_t done = 0;
    for (size_t p = 0; p < count; p++) {
        if (parts[p].rx_buf) memcpy((void *)(uintptr_t)parts[p].rx_buf, answer + done, parts[p].len);
        done += parts[p].len;
    }
    return (int)length;
}

int ioctl(int file, unsigned long what, ...) {
    va_list rest;
    va_start(rest, what);
    void *with = va_arg(rest, void *);
    va_end(rest);
    int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    if (file < 0) return real(file, what, with);
    int told = -2;
    pthread_mutex_lock(&asking);
    if (file == bus) {
        told = clock_bus(what, with);
    } else if (file == lines && what == GPIO_V2_GET_LINE_IOCTL) {
        told = give_lines(with);
    }
    for (int r = 0; told == -2 && r < REQUESTS; r++) {
        if (requests[r].count && requests[r].file == file) told = use_lines(&requests[r], what, with);
    }
    pthread_mutex_unlock(&asking);
    return told == -2 ? real(file, what, with) : told;
}

static int is_device(const char *path) {
    return path && (strcmp(path, "/dev/spidev0.0") == 0 || strcmp(path, "/dev/gpiochip0") == 0);
}

static int open_device(const char *path) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    int file = real("/dev/null", O_RDWR | O_CLOEXEC);
    if (strcmp(path, "/dev/gpiochip0") == 0) return lines = file;
    if (connect_chip() < 0) return -1;
    return bus = file;
}

int open64(const char *path, int how, ...) {
    va_list rest;
    va_start(rest, how);
    int mode = va_arg(rest, int);
    va_end(rest);
    if (is_device(path)) return open_device(path);
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    return real(path, how, mode);
}

char *realpath(const char *path, char *to) {
    char *(*real)(const char *, char *) = dlsym(RTLD_NEXT, "realpath");
    if (!is_device(path)) return real(path, to);
    return to ? strcpy(to, path) : strdup(path);
}

/* Lines are given back, and asked for anew when the radio is begun anew. */
int close(int file) {
    int (*real)(int) = dlsym(RTLD_NEXT, "close");
    for (int r = 0; file >= 0 && r < REQUESTS; r++) {
        if (requests[r].count && requests[r].file == file) {
            requests[r].count = 0;
            requests[r].edges = 0;
            real(requests[r].told);
        }
    }
    if (file == bus && file >= 0) {
        bus = -1;
        shutdown(chip, SHUT_RDWR);
        pthread_join(listener, NULL);
        real(chip);
    }
    if (file == lines) lines = -1;
    return real(file);
}
