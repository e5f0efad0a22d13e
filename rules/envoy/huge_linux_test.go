package envoy

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/rules/flow"
)

// fillSize is how much memory a text of any size takes: it is mapped again and again.
const fillSize = 2 << 20

// huge is a text with n bytes of 'a' between head and tail, as a mapped file is: its pages
// are one small piece of memory over and over. head is padded in front, tail behind.
func huge(t *testing.T, head string, n int, tail string) []byte {
	t.Helper()
	page := unix.Getpagesize()
	fd, err := unix.MemfdCreate("huge", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, bytes.Repeat([]byte{'a'}, fillSize)); err != nil {
		t.Fatal(err)
	}
	pages := func(n int) int { return (n + page - 1) / page * page }
	first, middle, last := pages(len(head)), n/fillSize*fillSize, pages(len(tail))
	text, err := unix.Mmap(-1, 0, first+middle+last, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(text); err != nil {
			t.Error(err)
		}
	})
	for at := first; at < first+middle; at += fillSize {
		if _, err := unix.MmapPtr(fd, 0, unsafe.Pointer(&text[at]), fillSize, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_FIXED); err != nil {
			t.Fatal(err)
		}
	}
	for i := range text[:first-len(head)] {
		text[i] = ' '
	}
	copy(text[first-len(head):], head)
	copy(text[first+middle:], tail)
	for i := first + middle + len(tail); i < len(text); i++ {
		text[i] = ' '
	}
	return text
}

// allocated is what f takes from the heap, what it gave back counted as well.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A string of a gigabyte, wherever it stands, is a sentence or a Gap, and takes no memory.
func TestHuge(t *testing.T) {
	const mark = "HUGE"
	in := func(m mesh) (head, tail string) {
		head, tail, ok := strings.Cut(string(m.dump()), mark)
		if !ok {
			t.Fatal("no mark")
		}
		return head, tail
	}
	good := lis("l", "0.0.0.0", 80, toC("l"))
	static := static("c", "10.1.0.1:80")
	const serves, gap = "continue l/l c 10.1.0.1:80", "an object of 256 MiB or more is not read"
	const gib, large = 1 << 30, 1 << 28 // large is the least that is not read as one object
	for name, row := range map[string]struct {
		m    mesh
		n    int
		want string // of the error or a gap
		end  string // of the trace, where it is not as without the text
	}{
		"a section that is not known":    {mesh{listeners: good, clusters: static, more: `, {'@type': 'x/y.Z', 'a': 'HUGE'}`}, gib, "", ""},
		"a name of a listener":           {mesh{listeners: lis("HUGE", "0.0.0.0", 80, toC("l")), clusters: static}, gib, "a name of 1073741824 bytes", ""},
		"a type":                         {mesh{listeners: good, clusters: static, more: `, {'@type': 'HUGE'}`}, large, "a name of 268435456 bytes", ""},
		"a member's name":                {mesh{listeners: good, clusters: static, more: `, {'@type': 'type.googleapis.com/envoy.admin.v3.ClustersConfigDump', 'HUGE': 1}`}, gib, "", ""},
		"a member of an element":         {mesh{listeners: good, clusters: static, more: `, {'@type': 'type.googleapis.com/envoy.admin.v3.ClustersConfigDump', 'dynamic_active_clusters': [{'HUGE': 1}]}`}, large, "", ""},
		"in a listener":                  {mesh{listeners: good[:len(good)-1] + `, 'stat_prefix': 'HUGE'}`, clusters: static}, gib, gap, "unknown / needs listener 10.0.0.1:80"},
		"in a cluster":                   {mesh{listeners: good, clusters: static[:len(static)-1] + `, 'alt_stat_name': 'HUGE'}`}, large, gap, "unknown l/l needs cluster c"},
		"in another cluster":             {mesh{listeners: good, clusters: static + `{'name': 'd', 'alt_stat_name': 'HUGE'}`}, large, gap, ""},
		"in a virtual host":              {mesh{listeners: good, clusters: static, routes: `{'name': 'r', 'virtual_hosts': [{'name': 'v', 'domains': ['HUGE']}]}`}, large, gap, ""},
		"in a route table":               {mesh{listeners: good, clusters: static, routes: `{'name': 'r', 'x': 'HUGE', 'virtual_hosts': []}`}, large, gap, ""},
		"in the bootstrap":               {mesh{bootstrap: `'node': {'id': 'HUGE'}`, listeners: good, clusters: static}, large, gap, ""},
		"in an endpoint":                 {mesh{listeners: good, clusters: static, endpoints: `{'cluster_name': 'x', 'HUGE': 1}`}, large, gap, ""},
		"in an error":                    {mesh{listeners: good, clusters: static, more: `, {'@type': 'type.googleapis.com/envoy.admin.v3.ClustersConfigDump', 'dynamic_active_clusters': [{'cluster': {'name': 'e'}, 'error_state': {'details': 'HUGE'}}]}`}, large, gap, ""},
		"no quote after it":              {mesh{listeners: good, clusters: static, more: `, {'a': 'HUGE`}, large, "the text ends too early", ""},
		"text behind the dump":           {mesh{listeners: good, clusters: static, more: `]} HUGE`}, large, "more text after the value", ""},
		"a string in place of a section": {mesh{listeners: good, clusters: static, more: `, 'HUGE'`}, large, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			head, tail := in(row.m)
			if name == "no quote after it" {
				tail = ""
			}
			text := huge(t, head, row.n, tail)
			var got string
			took := allocated(func() {
				c, gaps, err := Load(map[string][]byte{dumpPart: text})
				if err != nil {
					got = err.Error()
					return
				}
				if end := ends(c, Conn{Accept: addr("10.0.0.1:80"), Proto: flow.TCP}, raw()); end != orDefault(row.end, serves) {
					t.Errorf("ends %s, want %s", end, row.end)
				}
				for _, g := range gaps {
					got += g.Part + ": " + g.Reason
				}
				c.Summary()
			})
			if !strings.Contains(got, row.want) || (got == "") != (row.want == "") || len(got) > 1000 {
				t.Errorf("got %.1000s\nwant %s", got, row.want)
			}
			if took > 16<<20 {
				t.Errorf("%d bytes of heap", took)
			}
		})
	}
}

// The companions of a dump likewise.
func TestHugeParts(t *testing.T) {
	good := mesh{listeners: lis("l", "0.0.0.0", 80, toC("l")), clusters: static("c", "10.1.0.1:80")}.dump()
	for name, text := range map[string]string{
		"clusters.json":    `{"cluster_statuses": [{"name": "c", "x": "HUGE"}]}`,
		"clusters/c.json":  `{"cluster_statuses": [{"name": "HUGE"}]}`,
		"listeners.json":   `{"listener_statuses": [{"name": "HUGE"}]}`,
		"certs.json":       `{"certificates": "HUGE"}`,
		"runtime.json":     `{"entries": {"HUGE": {"final_value": "1"}}}`,
		"server_info.json": `{"version": "HUGE"}`,
		"config_dump/dynamic_listeners/x.json": `{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener", "name": "x",
			"active_state": {"listener": {"name": "x", "stat_prefix": "HUGE"}}}]}`,
	} {
		head, tail, _ := strings.Cut(text, "HUGE")
		part := huge(t, head, 1<<28, tail)
		took := allocated(func() {
			c, gaps, err := Load(map[string][]byte{dumpPart: good, name: part})
			if err != nil || len(gaps) != 1 || gaps[0].Part != name || !gaps[0].Broken || len(gaps[0].Reason) > 300 {
				t.Errorf("%s: gaps %v, error %v", name, gaps, err)
				return
			}
			if got := ends(c, Conn{Accept: addr("10.0.0.1:80"), Proto: flow.TCP}, raw()); got != "continue l/l c 10.1.0.1:80" {
				t.Errorf("%s: %s", name, got)
			}
		})
		if took > 16<<20 {
			t.Errorf("%s: %d bytes of heap", name, took)
		}
	}
}
