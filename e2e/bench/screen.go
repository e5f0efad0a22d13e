package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/meshtop/meshtop/e2e/screen"
)

// The screen's bench: a pod of its own, traffic of a given rate through a redirect on lo,
// and meshtop that watches it on a terminal.
const (
	screenDst = "10.9.9.9:80"
	screenBar = 10               // percent of a core
	screenFor = 20 * time.Second // at the rate that is asked for
)

// onScreen measures what the confirm screen costs at pps packets a second.
func onScreen(o options) error {
	dir, err := os.MkdirTemp("", "meshtop-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := o.build(dir); err != nil {
		return err
	}
	ns := fmt.Sprintf("mt-bench-%d", os.Getpid())
	for _, c := range []string{"ip netns add " + ns, "ip -n " + ns + " link set lo up", "ip -n " + ns + " addr add 10.9.8.1/32 dev lo", "ip -n " + ns + " route add default dev lo src 10.9.8.1",
		"ip netns exec " + ns + " iptables-nft -t nat -A OUTPUT -d 10.9.9.9 -p tcp --dport 80 -j REDIRECT --to-ports 8080"} {
		if out, err := exec.Command("sh", "-c", c).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", c, err, out)
		}
		if strings.HasPrefix(c, "ip netns add") {
			defer exec.Command("ip", "netns", "del", ns).Run()
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	load := exec.Command("ip", "netns", "exec", ns, self, "-load", strconv.Itoa(o.pps))
	load.Stderr = os.Stderr
	feed, err := load.StdinPipe() // it ends when this closes
	if err != nil {
		return err
	}
	if err := load.Start(); err != nil {
		return err
	}
	defer load.Wait()
	defer feed.Close()
	return watchScreen(o, ns)
}

// watchScreen brings meshtop to watch, and prints what the process takes while it does.
func watchScreen(o options, ns string) error {
	p, err := screen.Start(screen.Options{W: 140, H: 40}, o.meshtop, "attach", "netns", ns, "--to", screenDst)
	if err != nil {
		return err
	}
	defer p.Close()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	for _, step := range [][2]string{{"w", "DELIVERED"}, {"w", "what to watch"}, {"", " live 2 s"}} {
		if err := p.Wait(ctx, step[1]); err != nil {
			return err
		}
		if err := p.Keys(step[0]); err != nil {
			return err
		}
	}
	cpu, err := cpuOf(p.PID())
	if err != nil {
		return err
	}
	before := p.Text()
	start, all := time.Now(), numberBefore(before, ofWatch)+screenFor.Seconds()*float64(o.pps)
	if err := p.Until(ctx, fmt.Sprintf("%.0f packets", all), func(s string) bool { return numberBefore(s, ofWatch) >= all }); err != nil {
		return err
	}
	after, took := p.Text(), time.Since(start).Seconds()
	cpu2, err := cpuOf(p.PID())
	if err != nil {
		return err
	}
	rate := (numberBefore(after, ofWatch) - numberBefore(before, ofWatch)) / took
	percent, dropped := 100*(cpu2-cpu)/took, numberBefore(after, " dropped")
	fmt.Printf("screen, 140x40: %.0f packets/s seen of %d asked for, %.0f s: CPU %.1f %% of a core (the bar: %d), peak RSS %.0f MB, %.0f dropped (the bar: 0), %.0f let go of %.0f\n",
		rate, o.pps, took, percent, screenBar, peakOf(p.PID()), dropped, numberBefore(after, " let go"), numberBefore(after, ofWatch))
	switch {
	case rate < float64(o.pps)*0.95:
		return fmt.Errorf("%.0f packets/s were seen of %d: the traffic was not what the bar is for", rate, o.pps)
	case percent > screenBar:
		return fmt.Errorf("the screen took %.1f %% of a core: the bar is %d", percent, screenBar)
	case dropped > 0:
		return fmt.Errorf("%.0f packets were dropped: the bar is 0", dropped)
	}
	return nil
}

// ofWatch stands behind the number of the watch's packets; a rule counts packets too.
const ofWatch = " packets ·"

// numberBefore is the last number that stands before a word.
func numberBefore(text, word string) float64 {
	all := regexp.MustCompile(`(\d+)`+regexp.QuoteMeta(word)).FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.ParseFloat(all[len(all)-1][1], 64)
	return n
}

// cpuOf is what a process took so far, in seconds (proc_pid_stat(5): utime and stime, in
// ticks of 10 ms).
func cpuOf(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	u, _ := strconv.ParseFloat(f[11], 64)
	s, _ := strconv.ParseFloat(f[12], 64)
	return (u + s) / 100, nil
}

// peakOf is a process's peak of resident memory in MB.
func peakOf(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return numberBefore(strings.ReplaceAll(string(b), "\t", " "), " kB\nVmRSS") / 1024
}

// rssOf is a process's resident memory in MB.
func rssOf(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return numberBefore(strings.ReplaceAll(string(b), "\t", " "), " kB\nRssAnon") / 1024
}

// load makes pps packets a second on lo until its standard input ends: requests and
// answers on connections of which there are 20 new ones a second.
func load(pps int) error {
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c) }()
		}
	}()
	go func() { // also while an answer never comes
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	request := []byte("GET /load HTTP/1.1\r\nHost: 10.9.9.9\r\nX-Filler: " + strings.Repeat("x", 200) + "\r\n\r\n")
	answer := make([]byte, len(request))
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	var conn net.Conn
	began, first := time.Now(), packetsOnLo()
	for n := 0; ; n++ {
		if n%25 == 0 {
			if conn != nil {
				conn.Close()
			}
			if conn, err = net.Dial("tcp", screenDst); err != nil {
				return err
			}
		}
		// As many as are due by the clock and the device's own count.
		for float64(packetsOnLo()-first) < time.Since(began).Seconds()*float64(pps) {
			if _, err := conn.Write(request); err != nil {
				return err
			}
			if _, err := io.ReadFull(conn, answer); err != nil {
				return err
			}
		}
		<-tick.C
	}
}

// packetsOnLo is how many packets lo has received (/proc/thread-self/net/dev).
func packetsOnLo() int {
	b, _ := os.ReadFile("/proc/thread-self/net/dev")
	for _, line := range strings.Split(string(b), "\n") {
		if name, rest, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name == "lo" {
			if f := strings.Fields(rest); len(f) > 1 {
				n, _ := strconv.Atoi(f[1])
				return n
			}
		}
	}
	return 0
}
