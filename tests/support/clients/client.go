// Asks for each URL on a connection of its own, and prints it, the status, and whom it took for its peer: client URL...
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"time"
)

func main() {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	for _, url := range os.Args[1:] {
		var peer *net.TCPAddr
		trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
			peer = got.Conn.RemoteAddr().(*net.TCPAddr)
		}}
		request, err := http.NewRequest("GET", url, nil)
		if err != nil {
			fail(err)
		}
		answer, err := client.Do(request.WithContext(httptrace.WithClientTrace(request.Context(), trace)))
		if err != nil {
			fail(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			fail(err)
		}
		answer.Body.Close()
		fmt.Println(url, answer.StatusCode, peer.IP, peer.Port)
	}
}

func fail(err error) {
	fmt.Println(err)
	os.Exit(1)
}
