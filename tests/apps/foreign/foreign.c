/* A RACS application written from the contract alone: PING is answered with PONG on UDP and TCP port 5000.
 *
 *   foreign get KEY                          prints a property of the OVF environment
 *   foreign run HEARTBEAT_IP NTP_IP          the application; ends at the power button
 *
 * No thread, no library but libc: one poll() loop does the service, the heartbeat, the clock and the button.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define PORT 5000
#define CLIENTS 500
#define ERA 2208988800u /* seconds from 1900 to 1970 */
enum { BUTTON, UDP, TCP, NTP, FIXED };

static char environment[65536];
static struct pollfd fds[FIXED + CLIENTS];
static int clients;

/* The value of one property: in its element, whatever prefix and order the attributes have. */
static int get(const char *key, char *value, size_t size)
{
    char wanted[128];
    snprintf(wanted, sizeof wanted, ":key=\"%s\"", key);
    char *found = strstr(environment, wanted);
    if (!found)
        return -1;
    char *begin = found, *end = strchr(found, '>');
    while (begin > environment && *begin != '<')
        begin--;
    for (char *at = begin; end && at < end; at++)
        if (!strncmp(at, ":value=\"", 8)) {
            size_t length = strcspn(at + 8, "\"");
            if (length >= size)
                return -1;
            memcpy(value, at + 8, length);
            value[length] = 0;
            return 0;
        }
    return -1;
}

static double now(clockid_t clock)
{
    struct timespec at;
    clock_gettime(clock, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static struct sockaddr_in endpoint(const char *address, int port)
{
    struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_aton(address, &result.sin_addr);
    return result;
}

static int bound(int kind, const char *address)
{
    struct sockaddr_in own = endpoint(address, PORT);
    int one = 1, fd = socket(AF_INET, kind | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_IP, IP_FREEBIND, &one, sizeof one); /* DHCP may come later */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&own, sizeof own)) {
        perror("bind");
        exit(1);
    }
    return fd;
}

static int power_button(void)
{
    for (int number = 0; number < 16; number++) {
        char path[32], name[64] = "";
        snprintf(path, sizeof path, "/dev/input/event%d", number);
        int fd = open(path, O_RDONLY | O_NONBLOCK);
        if (fd < 0)
            continue;
        ioctl(fd, EVIOCGNAME(sizeof name - 1), name);
        if (!strcmp(name, "Power Button"))
            return fd;
        close(fd);
    }
    return -1;
}

static void beat(int fd, const struct sockaddr_in *to, const char *app, const char *state)
{
    static unsigned long seq = 1000;
    char text[256];
    int length = snprintf(text, sizeof text,
                          "{\"racs\":\"heartbeat/1\",\"app\":\"%s\",\"seq\":%lu,\"time\":%.6f,\"state\":\"%s\"}", app,
                          seq, now(CLOCK_REALTIME), state);
    if (sendto(fd, text, length, 0, (const struct sockaddr *)to, sizeof *to) == length)
        seq++;
}

/* SNTP, RFC 4330: the request keeps our clock in its transmit field, the answer brings it back as originate. */
static void ask_time(int fd, unsigned char request[48])
{
    double at = now(CLOCK_REALTIME);
    uint32_t whole = htonl((uint32_t)((uint64_t)at + ERA)), part = htonl((uint32_t)((at - (uint64_t)at) * 4294967296.0));
    memset(request, 0, 48);
    request[0] = 4 << 3 | 3;
    memcpy(request + 40, &whole, 4);
    memcpy(request + 44, &part, 4);
    send(fd, request, 48, 0);
}

static double field(const unsigned char *at)
{
    uint32_t whole, part;
    memcpy(&whole, at, 4);
    memcpy(&part, at + 4, 4);
    return (uint32_t)(ntohl(whole) - ERA) + ntohl(part) / 4294967296.0;
}

/* Returns 1 when the clock was set, -1 when the server asks for patience (kiss-o'-death), 0 otherwise. */
static int set_time(int fd, const unsigned char request[48], int first)
{
    unsigned char answer[512];
    ssize_t length = recv(fd, answer, sizeof answer, 0);
    double received = now(CLOCK_REALTIME), sent = field(request + 40);
    if (length < 48 || (answer[0] & 7) != 4 || memcmp(answer + 24, request + 40, 8))
        return 0;
    if (answer[1] == 0)
        return -1;
    if (answer[0] >> 6 == 3 || answer[1] > 15)
        return 0;
    double offset = (field(answer + 32) - sent + field(answer + 40) - received) / 2;
    if (first || offset > 0.5 || offset < -0.5) {
        double target = now(CLOCK_REALTIME) + offset;
        struct timespec at = {.tv_sec = (time_t)target, .tv_nsec = (long)((target - (time_t)target) * 1e9)};
        clock_settime(CLOCK_REALTIME, &at);
    } else {
        struct timeval delta = {.tv_sec = 0, .tv_usec = (long)(offset * 1e6)};
        adjtime(&delta, NULL);
    }
    return 1;
}

static void answer_datagrams(int fd)
{
    char data[2048];
    struct sockaddr_in peer;
    for (int turn = 0; turn < 64; turn++) {
        socklen_t size = sizeof peer;
        ssize_t length = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&peer, &size);
        if (length < 0)
            return;
        if (length >= 4 && !memcmp(data, "ping", 4)) {
            memcpy(data, "pong", 4);
            sendto(fd, data, length, 0, (struct sockaddr *)&peer, size);
        }
    }
}

static void drop(int index)
{
    close(fds[index].fd);
    clients--;
    memmove(&fds[index], &fds[index + 1], (FIXED + clients - index) * sizeof *fds);
}

static void accept_clients(void)
{
    for (int fd; (fd = accept4(fds[TCP].fd, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        if (clients == CLIENTS)
            drop(FIXED); /* the oldest */
        fds[FIXED + clients++] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
}

static void serve_clients(void)
{
    for (int index = FIXED + clients - 1; index >= FIXED; index--) {
        char data[2048];
        if (!fds[index].revents)
            continue;
        ssize_t length = recv(fds[index].fd, data, sizeof data, 0);
        if (length == 0 || (length < 0 && errno != EAGAIN))
            drop(index);
        else if (length >= 4 && !memcmp(data, "ping", 4)) {
            memcpy(data, "pong", 4);
            send(fds[index].fd, data, length, MSG_NOSIGNAL); /* short lines; who does not read loses them */
        }
    }
}

static void run(const char *heartbeat_ip, const char *ntp_ip)
{
    char app[64], port[16], own[64], interval[16];
    if (get("racs.app.id", app, sizeof app) || get("racs.heartbeat.port", port, sizeof port) ||
        get("racs.heartbeat.interval", interval, sizeof interval) || get("racs.userplane.address", own, sizeof own)) {
        fprintf(stderr, "foreign: the OVF environment lacks a property\n");
        exit(1);
    }
    struct sockaddr_in platform = endpoint(heartbeat_ip, atoi(port)), server = endpoint(ntp_ip, 123);
    unsigned char request[48] = {0};
    int heart = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), synchronised = 0;
    fds[BUTTON] = (struct pollfd){.fd = power_button(), .events = POLLIN};
    fds[UDP] = (struct pollfd){.fd = bound(SOCK_DGRAM, own), .events = POLLIN};
    fds[TCP] = (struct pollfd){.fd = bound(SOCK_STREAM, own), .events = POLLIN};
    fds[NTP] = (struct pollfd){.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), .events = POLLIN};
    listen(fds[TCP].fd, 256);
    connect(fds[NTP].fd, (struct sockaddr *)&server, sizeof server);
    double start = now(CLOCK_MONOTONIC), next_beat = start + 0.5, next_poll = start;
    for (;;) {
        double at = now(CLOCK_MONOTONIC), next = next_beat < next_poll ? next_beat : next_poll;
        poll(fds, FIXED + clients, next > at ? (int)((next - at) * 1000) + 1 : 0);
        if (fds[BUTTON].revents)
            break;
        if (fds[UDP].revents)
            answer_datagrams(fds[UDP].fd);
        serve_clients();
        if (fds[TCP].revents)
            accept_clients();
        at = now(CLOCK_MONOTONIC);
        if (fds[NTP].revents) {
            int result = set_time(fds[NTP].fd, request, !synchronised);
            synchronised |= result > 0;
            if (result)
                next_poll = at + (result > 0 ? 64 : 128);
        }
        if (at >= next_poll) {
            ask_time(fds[NTP].fd, request);
            next_poll = at + (synchronised ? 64 : 2);
        }
        if (at >= next_beat) {
            beat(heart, &platform, app, "running");
            while (next_beat <= at)
                next_beat += atof(interval);
        }
    }
    beat(heart, &platform, app, "stopping");
}

int main(int argc, char **argv)
{
    FILE *file = fopen("/media/ovf-env.xml", "r");
    if (!file || !fread(environment, 1, sizeof environment - 1, file)) {
        fprintf(stderr, "foreign: no OVF environment on the CD-ROM\n");
        return 1;
    }
    fclose(file);
    char value[256];
    if (argc == 3 && !strcmp(argv[1], "get") && !get(argv[2], value, sizeof value))
        return puts(value) < 0;
    if (argc == 4 && !strcmp(argv[1], "run")) {
        run(argv[2], argv[3]);
        return 0;
    }
    return 1;
}
