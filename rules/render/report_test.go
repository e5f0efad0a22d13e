package render

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
)

// A request that came where it was to, and got what no endpoint gives that answers well: the
// report says so, and only then.
func TestAnswerUnlikeATrace(t *testing.T) {
	sent := func(code, tcp string) *flow.Observation {
		return &flow.Observation{Kind: flow.SeenAnswer, Fields: map[string]string{"code": code, "tcp": tcp, "ms": "1"}}
	}
	for _, c := range []struct {
		verdict flow.Verdict
		caller  flow.Symptom
		sent    *flow.Observation
		want    string
	}{
		{flow.Delivered, flow.Symptom{Code: 200, TCP: flow.TCPOK}, sent("200", "ok"), "answered 200, tcp ok, 1 ms"},
		{flow.Delivered, flow.Symptom{Code: 200, TCP: flow.TCPOK}, sent("0", "reset"), "tcp reset, 1 ms, unlike an endpoint that answers well: status 200"},
		{flow.Delivered, flow.Symptom{TCP: flow.TCPOK}, sent("0", "closed"), "tcp closed, 1 ms, unlike an endpoint that answers well: an open connection"},
		{flow.Delivered, flow.Symptom{}, sent("0", "timeout"), "tcp timeout, 1 ms"},
		{flow.Refused, flow.Symptom{TCP: flow.TCPResetOrClosed}, sent("0", "reset"), "tcp reset, 1 ms"},
	} {
		text := ReportText(confirm.Report{Trace: flow.Trace{Verdict: c.verdict, Caller: c.caller}, Sent: c.sent})
		if flat := strings.Join(strings.Fields(text), " "); !strings.Contains(flat, c.want+" packets") {
			t.Errorf("%v, %v: want %q in\n%s", c.verdict, c.caller, c.want, text)
		}
	}
}
