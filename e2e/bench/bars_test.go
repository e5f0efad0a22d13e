package main

import (
	"strings"
	"testing"
)

// held is a rung of which all bars hold.
func held() (float64, []*cost, *insideResult) {
	quick := quantiles{P50: 50, P99: 500}
	return 20, []*cost{{name: "meshtop trace", cpu: []float64{0.1}, rss: []float64{90e6}}, {name: "istioctl pc routes", cpu: []float64{2}}},
		&insideResult{Index: 500, HeapOne: 6e6, HeapAll: 6e6, Truncated: cutCount, Warm: quick, First: quantiles{P50: 1000, P99: 10000}, Asked: 5000}
}

// Each figure at its bar holds; one past it is missed, and named with its rung.
func TestBars(t *testing.T) {
	mb, costs, in := held()
	if err := verdict([]judged{{"20 MB", ladderBars(mb, costs, in)}}); err != nil {
		t.Errorf("at every bar: %v", err)
	}
	for want, spoil := range map[string]func([]*cost, *insideResult){
		"file to first trace, CPU s 0.101 (<= 0.100) MISSED":   func(c []*cost, _ *insideResult) { c[0].cpu[0], c[1].cpu[0] = 0.101, 3 },
		"istioctl's CPU, times ours 19.9 (>= 20.0) MISSED":     func(c []*cost, _ *insideResult) { c[1].cpu[0] = 1.99 },
		"peak RSS, MB 91 (<= 90) MISSED":                       func(c []*cost, _ *insideResult) { c[0].rss[0] = 91e6 },
		"heap after one trace, times the file 0.35 (<= 0.30)":  func(_ []*cost, r *insideResult) { r.HeapOne = 7e6 },
		"heap after all requests, times the file 0.35 (<= 0.3": func(_ []*cost, r *insideResult) { r.HeapAll = 7e6 },
		"index, MB/s 499 (>= 500) MISSED":                      func(_ []*cost, r *insideResult) { r.Index = 499 },
		"truncated files refused 15 (>= 16) MISSED":            func(_ []*cost, r *insideResult) { r.Truncated-- },
		"trace, warm, p50 us 51 (<= 50) MISSED":                func(_ []*cost, r *insideResult) { r.Warm.P50 = 51 },
		"trace, warm, p99 us 501 (<= 500) MISSED":              func(_ []*cost, r *insideResult) { r.Warm.P99 = 501 },
		"trace, first touch, p50 us 1001 (<= 1000) MISSED":     func(_ []*cost, r *insideResult) { r.First.P50 = 1001 },
		"trace, first touch, p99 us 10001 (<= 10000) MISSED":   func(_ []*cost, r *insideResult) { r.First.P99 = 10001 },
		"wrong answers 1 of 5000 (<= 0) MISSED":                func(_ []*cost, r *insideResult) { r.Wrong = 1 },
		"unknown answers 5000 of 5000 (<= 0) MISSED":           func(_ []*cost, r *insideResult) { r.Unknown = 5000 },
		"requests 0 (>= 1) MISSED":                             func(_ []*cost, r *insideResult) { r.Asked = 0 },
	} {
		mb, costs, in := held()
		spoil(costs, in)
		err := verdict([]judged{{"20 MB", ladderBars(mb, costs, in)}})
		if err == nil || !strings.Contains(err.Error(), "1 bars missed:\n  20 MB: "+want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := verdict([]judged{{"2 MB", ladderBars(2, []*cost{{cpu: []float64{0.1}, rss: []float64{0}}, {name: "istioctl x", cpu: []float64{0.1}}}, in)}}); err == nil || strings.Contains(err.Error(), "istioctl") || !strings.Contains(err.Error(), "first trace, CPU s 0.100 (<= 0.060)") {
		t.Errorf("at 2 MB istioctl is no bar, and 0.06 s is one: %v", err)
	}
}
