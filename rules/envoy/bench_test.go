package envoy

import (
	"os"
	"runtime"
	"testing"
)

// dumpFile is a dump of any size for the benchmarks below; without it they make none.
func dumpFile(b testing.TB) []byte {
	name := os.Getenv("MESHTOP_BENCH_DUMP")
	if name == "" {
		b.Skip("not run: MESHTOP_BENCH_DUMP names no dump")
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	return raw
}

// BenchmarkLoad is the index pass over a dump, every byte checked.
func BenchmarkLoad(b *testing.B) {
	raw := dumpFile(b)
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
