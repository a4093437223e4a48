// Asks c-ares for each NAME/4, NAME/6 or, for both, NAME/0, and prints what it says of it in a line.
#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>

static void print(void *ignored, int status, int timeouts, struct ares_addrinfo *found) {
    if (status != ARES_SUCCESS) {
        const char *word = status == ARES_ENODATA ? "NODATA" : status == ARES_ENOTFOUND ? "NONAME" : ares_strerror(status);
        printf(" %s", word);
        return;
    }
    for (struct ares_addrinfo_node *one = found->nodes; one; one = one->ai_next) {
        char text[INET6_ADDRSTRLEN];
        void *address = one->ai_family == AF_INET
            ? (void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr
            : (void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr;
        printf(" %s", inet_ntop(one->ai_family, address, text, sizeof text));
    }
    ares_freeaddrinfo(found);
}

int main(int n, char **words) {
    ares_channel channel;
    if (ares_library_init(ARES_LIB_INIT_ALL) || ares_init(&channel)) return 1;
    for (int at = 1; at < n; at++) {
        char *family = strrchr(words[at], '/');
        *family++ = 0;
        struct ares_addrinfo_hints hints = {
            .ai_socktype = SOCK_STREAM,
            .ai_family = *family == '4' ? AF_INET : *family == '6' ? AF_INET6 : AF_UNSPEC,
            .ai_flags = ARES_AI_NOSORT,
        };
        printf("%s/%s", words[at], family);
        ares_getaddrinfo(channel, words[at], "80", &hints, print, NULL);
        for (;;) {
            fd_set readable, writable;
            FD_ZERO(&readable);
            FD_ZERO(&writable);
            int most = ares_fds(channel, &readable, &writable);
            if (most == 0) break;
            struct timeval wait, *until = ares_timeout(channel, NULL, &wait);
            select(most, &readable, &writable, NULL, until);
            ares_process(channel, &readable, &writable);
        }
        puts("");
    }
    ares_destroy(channel);
}
