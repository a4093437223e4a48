// Asks Go's own resolver for each NAME/4, NAME/6 or, for both, NAME/0, and prints what it says of it in a line.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

func main() {
	resolver := net.Resolver{PreferGo: true}
	for _, word := range os.Args[1:] {
		name, family, _ := strings.Cut(word, "/")
		fmt.Print(word)
		found, err := resolver.LookupIP(context.Background(), "ip"+strings.Trim(family, "0"), name)
		var told *net.DNSError
		switch {
		case errors.As(err, &told) && told.IsNotFound:
			fmt.Print(" NONAME")
		case err != nil:
			fmt.Print(" ", err)
		}
		for _, address := range found {
			fmt.Print(" ", address)
		}
		fmt.Println()
	}
}
