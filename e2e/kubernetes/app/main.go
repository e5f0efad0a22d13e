// Command app is what runs in the pods of the scenes: pause waits, and serve answers HTTP and
// says who asked.
//
//	app pause
//	app serve ADDRESS...
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	args := os.Args[1:]
	switch {
	case len(args) == 1 && args[0] == "pause":
		go reap()
	case len(args) >= 2 && args[0] == "serve":
		for _, address := range args[1:] {
			go func() {
				fmt.Fprintln(os.Stderr, "app:", http.ListenAndServe(address, http.HandlerFunc(answer)))
				os.Exit(1)
			}()
		}
	default:
		fmt.Fprintln(os.Stderr, "usage: app pause | app serve ADDRESS...")
		os.Exit(2)
	}
	<-ended
}

// answer names the app, the client and the headers that came.
func answer(w http.ResponseWriter, r *http.Request) {
	name := os.Getenv("APP_NAME")
	w.Header().Set("Server", "testapp/"+name)
	fmt.Fprintf(w, "app=%s path=%s host=%s from=%s\n", name, r.URL.Path, r.Host, r.RemoteAddr)
	var names []string
	for n := range r.Header {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		fmt.Fprintf(w, "%s: %s\n", strings.ToLower(n), strings.Join(r.Header[n], ", "))
	}
}

// reap waits for the orphans of a pod whose containers share their processes.
func reap() {
	gone := make(chan os.Signal, 8)
	signal.Notify(gone, syscall.SIGCHLD)
	for range gone {
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
