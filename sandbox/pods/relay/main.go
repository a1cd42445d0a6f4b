// Listens on 127.0.0.1 where it was started, and dials from another network namespace: relay NAMESPACE-FILE ADDRESS PORT-FILE.
// The port that it listens on is whichever is free; it is written to PORT-FILE once connections are taken.
package main

import (
	"io"
	"log"
	"net"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: relay NAMESPACE-FILE ADDRESS PORT-FILE")
	}
	namespace, err := os.Open(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(os.Args[3]+".partial", []byte(port), 0o600); err != nil {
		log.Fatal(err)
	}
	if err := os.Rename(os.Args[3]+".partial", os.Args[3]); err != nil {
		log.Fatal(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(client.(*net.TCPConn), namespace, os.Args[2])
	}
}

func serve(client *net.TCPConn, namespace *os.File, address string) {
	defer client.Close()
	server, err := dial(namespace, address)
	if err != nil {
		log.Print(err)
		// A reset, as somebody gets who dials a port where nobody listens.
		_ = client.SetLinger(0)
		return
	}
	defer server.Close()
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.CloseWrite()
		close(done)
	}()
	_, _ = io.Copy(client, server)
	_ = client.CloseWrite()
	<-done
}

// The thread that has entered the namespace is never unlocked, so it ends with the goroutine and nobody else runs on it.
func dial(namespace *os.File, address string) (*net.TCPConn, error) {
	type result struct {
		connection *net.TCPConn
		err        error
	}
	results := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			results <- result{nil, err}
			return
		}
		// No names are looked up, so the socket is made on this thread.
		connection, err := (&net.Dialer{Timeout: 10 * time.Second}).Dial("tcp4", address)
		if err != nil {
			results <- result{nil, err}
			return
		}
		results <- result{connection.(*net.TCPConn), nil}
	}()
	got := <-results
	return got.connection, got.err
}
