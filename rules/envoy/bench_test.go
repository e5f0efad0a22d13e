package envoy

import (
	"flag"
	"os"
	"runtime"
	"testing"

	"github.com/meshtop/meshtop/e2e/packed"
)

var dumpFile = flag.String("dump", "", "a config dump for the benchmarks in place of a small one")

func benchDump(b *testing.B) []byte {
	if *dumpFile == "" {
		return packed.Read(b, "testdata/dumps/istio-routing-client-config_dump.json.gz")
	}
	raw, err := os.ReadFile(*dumpFile)
	if err != nil {
		b.Fatal(err)
	}
	return raw
}

// BenchmarkLoad is the index pass over a dump, every byte checked.
func BenchmarkLoad(b *testing.B) {
	raw := benchDump(b)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, _, err := Load(map[string][]byte{dumpPart: raw}); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c, _, _ := Load(map[string][]byte{dumpPart: raw})
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(raw)), "heap/byte")
	runtime.KeepAlive(c)
}

// BenchmarkDecode is what the first touch of an object costs: every one of the dump decoded
// and looked over.
func BenchmarkDecode(b *testing.B) {
	raw := benchDump(b)
	c, _, err := Load(map[string][]byte{dumpPart: raw})
	if err != nil {
		b.Fatal(err)
	}
	var size int64
	for _, e := range c.entries {
		size += int64(e.end - e.start)
	}
	b.SetBytes(size)
	for b.Loop() {
		for _, e := range c.entries {
			e.decode()
		}
	}
}
