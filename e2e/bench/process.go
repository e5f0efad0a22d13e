package main

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/meshtop/meshtop/e2e/bench/mesh"
)

// cost is what one program took on one file, in its runs.
type cost struct {
	name string
	cpu  []float64 // seconds, user and system
	rss  []float64 // bytes, peak
}

func median(xs []float64) float64 {
	s := append([]float64(nil), xs...)
	sort.Float64s(s)
	if len(s) == 0 {
		return 0
	}
	return s[len(s)/2]
}

// over is how many times ours this took, in pairs, sorted.
func (c *cost) over(ours *cost) (ratios []float64) {
	for i := range c.cpu {
		ratios = append(ratios, c.cpu[i]/ours.cpu[i])
	}
	sort.Float64s(ratios)
	return ratios
}

// row compares with ours, run by run, as they ran side by side.
func (c *cost) row(ours *cost, size int64) string {
	s := fmt.Sprintf("%-44s cpu %7.3f s, least %.3f   peak RSS %6.0f MB (%.2f x file)", c.name, median(c.cpu), least(c.cpu), median(c.rss)/1e6, median(c.rss)/float64(size))
	if c == ours {
		return s
	}
	ratios := c.over(ours)
	return s + fmt.Sprintf("   %.1f x meshtop's cpu (%.1f to %.1f)", median(ratios), ratios[0], ratios[len(ratios)-1])
}

// command is a program to time. What it prints must name all of shows: a quick answer that is
// none must not count.
type command struct {
	name  string
	argv  []string
	shows []string
}

// pairs runs the programs one after the other, again and again: meshtop's first trace
// from the file, and what others do to look at the same routes.
func pairs(o options, dump, reqs string) ([]*cost, error) {
	rs, err := readRequests(reqs)
	if err != nil {
		return nil, err
	}
	q, err := first(rs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", reqs, err)
	}
	commands := []command{{"meshtop trace --config-dump FILE --to ...", traceCommand(o.meshtop, dump, q), q.Expect.Clusters}}
	if o.jq != "" {
		commands = append(commands, command{"jq: the virtual host by its domain", []string{o.jq, "-c", jqProgram(q), dump}, nil})
	}
	if o.istioctl != "" {
		commands = append(commands, command{"istioctl pc routes -f FILE --name TABLE", []string{o.istioctl, "proxy-config", "routes", "-f", dump, "--name", q.Expect.Table}, nil})
	}
	costs := make([]*cost, len(commands))
	for i, c := range commands {
		costs[i] = &cost{name: c.name}
	}
	for range o.pairs {
		for i, c := range commands {
			if err := costs[i].run(c); err != nil {
				return nil, err
			}
		}
	}
	return costs, nil
}

// first is a request that can only end at one cluster, so that a trace of it ends with 0: of
// HTTP where there is one, since the others look for its virtual host.
func first(rs []mesh.Request) (mesh.Request, error) {
	for _, http := range []bool{true, false} {
		for _, q := range rs {
			if (q.Authority != "") == http && q.Expect.Code == 0 && len(q.Expect.Clusters) == 1 && q.Expect.Clusters[0] != "" {
				return q, nil
			}
		}
	}
	return mesh.Request{}, fmt.Errorf("none of %d requests ends at one cluster: there is nothing to time", len(rs))
}

func traceCommand(binary, dump string, q mesh.Request) []string {
	return append([]string{binary, "trace", "--config-dump", dump}, requestFlags(q)...)
}

// requestFlags are a request as a trace takes it.
func requestFlags(q mesh.Request) []string {
	argv := []string{"--to", fmt.Sprintf("%s:%d", q.Dst, q.Port)}
	if q.Authority == "" {
		return append(argv, "--raw")
	}
	argv = append(argv, "--authority", q.Authority, "--path", q.Path)
	for k, v := range q.Headers {
		argv = append(argv, "-H", k+": "+v)
	}
	return argv
}

// jqProgram finds the virtual host that takes the authority, in its table.
func jqProgram(q mesh.Request) string {
	return fmt.Sprintf(`.configs[] | select(.["@type"] | endswith(".RoutesConfigDump")) | .dynamic_route_configs[].route_config`+
		` | select(.name == %q) | .virtual_hosts[] | select(.domains | index(%q))`, q.Expect.Table, q.Authority)
}

const longest = 10 * time.Minute

func (c *cost) run(what command) error {
	cmd := exec.Command(what.argv[0], what.argv[1:]...)
	var answer, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &answer, &said
	if len(what.shows) == 0 {
		cmd.Stdout = io.Discard
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	late := time.AfterFunc(longest, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	late.Stop()
	if err != nil {
		return fmt.Errorf("%s: %w: %s%s", strings.Join(what.argv, " "), err, said.String(), answer.String())
	}
	for _, s := range what.shows {
		if !strings.Contains(answer.String(), s) {
			return fmt.Errorf("%s: the answer does not name %q:\n%s", strings.Join(what.argv, " "), s, answer.String())
		}
	}
	u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	c.cpu = append(c.cpu, cmd.ProcessState.UserTime().Seconds()+cmd.ProcessState.SystemTime().Seconds())
	c.rss = append(c.rss, float64(u.Maxrss)*1024)
	return nil
}

// least is the smallest: what a program takes when nothing else runs, or nearly so.
func least(xs []float64) float64 {
	if len(xs) == 0 {
		return 0
	}
	return slices.Min(xs)
}
