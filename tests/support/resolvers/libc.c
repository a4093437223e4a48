// Asks getaddrinfo() for each NAME/4, NAME/6 or, for both, NAME/0, and prints what it says of it in a line.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

static const char *word(int error) {
    switch (error) {
    case EAI_NONAME: return "NONAME";
#ifdef EAI_NODATA
    case EAI_NODATA: return "NODATA";
#endif
    default: return gai_strerror(error);
    }
}

int main(int n, char **words) {
    for (int at = 1; at < n; at++) {
        char *family = strrchr(words[at], '/');
        *family++ = 0;
        int wanted = *family == '4' ? AF_INET : *family == '6' ? AF_INET6 : AF_UNSPEC;
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_family = wanted };
        struct addrinfo *found;
        printf("%s/%s", words[at], family);
        int error = getaddrinfo(words[at], "80", &hints, &found);
        if (error) {
            printf(" %s\n", word(error));
            continue;
        }
        for (struct addrinfo *one = found; one; one = one->ai_next) {
            char text[INET6_ADDRSTRLEN];
            void *address = one->ai_family == AF_INET
                ? (void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr
                : (void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr;
            printf(" %s", inet_ntop(one->ai_family, address, text, sizeof text));
        }
        puts("");
        freeaddrinfo(found);
    }
}
