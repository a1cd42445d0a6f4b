// For pods that tests start: `probe serve ADDRESS TEXT` answers every request with the text, `probe get URL` prints an answer.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	log.SetFlags(0)
	switch {
	case len(os.Args) == 4 && os.Args[1] == "serve":
		text := os.Args[3]
		http.HandleFunc("/", func(answer http.ResponseWriter, request *http.Request) {
			log.Printf("%s %s", request.Method, request.URL.Path)
			_, _ = fmt.Fprintln(answer, text)
		})
		log.Fatal(http.ListenAndServe(os.Args[2], nil))
	case len(os.Args) == 3 && os.Args[1] == "get":
		client := http.Client{Timeout: 5 * time.Second}
		answer, err := client.Get(os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		defer answer.Body.Close()
		if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
			log.Fatal(err)
		}
	default:
		log.Fatal("usage: probe serve ADDRESS TEXT | probe get URL")
	}
}
