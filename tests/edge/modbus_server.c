/* Modbus/TCP machines by libmodbus, each at a port of its own: what the agent's throughput is measured against.
 * modbus_server COUNT, at most 400; prints their ports, one a line; ends with the standard input.
 * cc -O2 modbus_server.c $(pkg-config --cflags --libs libmodbus) */

#include <arpa/inet.h>
#include <modbus.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define REGISTERS 200

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static int listen_anywhere(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 16) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        perror("modbus_server");
        exit(1);
    }
    printf("%d\n", ntohs(address.sin_port));
    return listener;
}

int main(int count_given, char **arguments) {
    int yes = 1, epoll = epoll_create1(0), count_wanted = count_given > 1 ? atoi(arguments[1]) : 1;
    modbus_t *modbus = modbus_new_tcp("127.0.0.1", 502);
    modbus_mapping_t *mapping = modbus_mapping_new(REGISTERS, REGISTERS, REGISTERS, REGISTERS);
    if (modbus == NULL || mapping == NULL) {
        return 1;
    }
    for (int i = 0; i < REGISTERS; i++) {
        mapping->tab_registers[i] = (uint16_t)(1000 + i);
    }
    int listening[1024] = {0};
    for (int i = 0; i < count_wanted; i++) {
        int listener = listen_anywhere();
        listening[listener] = 1;
        watch(epoll, listener);
    }
    fflush(stdout);
    watch(epoll, STDIN_FILENO);
    for (;;) {
        struct epoll_event events[64];
        int count = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == STDIN_FILENO) {
                return 0;
            }
            if (listening[fd]) {
                int connection = accept(fd, NULL, NULL);
                setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                watch(epoll, connection);
                continue;
            }
            uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
            modbus_set_socket(modbus, fd);
            int received = modbus_receive(modbus, query);
            if (received > 0) {
                modbus_reply(modbus, query, received, mapping);
            } else if (received < 0) {
                close(fd);
            }
        }
    }
}
