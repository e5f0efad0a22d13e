package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

func TestReadBringsPartsGapsAndCalls(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), (inMemory+1<<20)/16)
	f := &fake{
		name: "netns blue",
		snap: inspect.Snapshot{
			Files: inspect.Files{"iptables-save": []byte("*nat\nCOMMIT\n"), "empty": {}, "config_dump.json": large},
			Gaps:  []flow.Gap{{Part: "nft.json", Reason: "nft is not there", Broken: true}},
			Calls: []inspect.Call{{What: "iptables-save -c", Start: time.Unix(1, 2).UTC(), Took: time.Millisecond, Bytes: 12}},
		},
		told: []inspect.Progress{{Part: "config_dump.json", Bytes: 5, Total: 10}, {Part: "nft.json", Done: true, Err: errors.New("not there")}},
	}
	pod, _ := pair(t, f)
	var told []string
	want := inspect.Want{
		Parts: []string{"iptables-save"}, Needs: []flow.Need{{Part: "listener", Name: "x"}}, Full: true, MaxBytes: 1 << 28,
		Progress: func(p inspect.Progress) { told = append(told, fmt.Sprint(p)) },
	}
	got, err := pod.Read(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Gaps, f.snap.Gaps) || !reflect.DeepEqual(got.Calls, f.snap.Calls) {
		t.Errorf("gaps %v, calls %v", got.Gaps, got.Calls)
	}
	if len(got.Files) != len(f.snap.Files) {
		t.Errorf("%d parts, want %d", len(got.Files), len(f.snap.Files))
	}
	for name, data := range f.snap.Files {
		if !bytes.Equal(got.Files[name], data) {
			t.Errorf("%s: %d bytes that differ, want %d", name, len(got.Files[name]), len(data))
		}
	}
	if len(pod.spools) != 1 {
		t.Errorf("%d parts are in files, want the large one", len(pod.spools))
	}
	if !reflect.DeepEqual(f.asked.Parts, want.Parts) || !reflect.DeepEqual(f.asked.Needs, want.Needs) || !f.asked.Full || f.asked.MaxBytes != want.MaxBytes {
		t.Errorf("asked for %+v", f.asked)
	}
	if want := []string{fmt.Sprint(f.told[0]), fmt.Sprint(f.told[1])}; !reflect.DeepEqual(told, want) {
		t.Errorf("progress %q, want %q", told, want)
	}
	if pod.Name() != "netns blue" {
		t.Errorf("name %q", pod.Name())
	}
}

// What could be read is returned beside the error.
func TestReadKeepsWhatCameBesideAnError(t *testing.T) {
	f := &fake{snap: inspect.Snapshot{Files: inspect.Files{"a": []byte("b")}}, err: fmt.Errorf("nft: %w", inspect.ErrNoPower)}
	pod, _ := pair(t, f)
	got, err := pod.Read(t.Context(), inspect.Want{})
	if string(got.Files["a"]) != "b" {
		t.Errorf("files %v", got.Files)
	}
	if !errors.Is(err, inspect.ErrNoPower) || errors.Is(err, inspect.ErrNotFound) || err.Error() != f.err.Error() {
		t.Errorf("error %v", err)
	}
}

func TestErrorsKeepTheirIdentity(t *testing.T) {
	held := flow.Policy{State: flow.StateApplied, Change: flow.Change{Kind: flow.BlockAll, By: "ann@corp"}}
	for _, c := range []error{
		inspect.ErrReadOnly, inspect.ErrNotFound, inspect.ErrNoPower, inspect.ErrAltered, inspect.ErrEnded, &inspect.Held{Policy: held},
		context.DeadlineExceeded, errors.Join(inspect.ErrNotFound, inspect.ErrNoPower),
	} {
		pod, _ := pair(t, &fake{err: c})
		_, err := pod.Apply(t.Context(), flow.Change{Kind: flow.BlockAll})
		if err == nil || err.Error() != c.Error() {
			t.Errorf("%v came as %v", c, err)
		}
		for _, s := range sentinels {
			if errors.Is(err, s.err) != errors.Is(c, s.err) {
				t.Errorf("%v: errors.Is %s is %v", c, s.name, errors.Is(err, s.err))
			}
		}
		var want, got *inspect.Held
		if errors.As(c, &want) != errors.As(err, &got) {
			t.Errorf("%v: held by nobody", c)
		}
		if want != nil && got.Policy.Change.By != "ann@corp" {
			t.Errorf("held by %q", got.Policy.Change.By)
		}
	}
}

func TestSendAndResolve(t *testing.T) {
	f := &fake{
		sent:  inspect.Sent{Symptom: flow.Symptom{Code: 503, Flags: "UH", TCP: flow.TCPOK}, Local: netip.MustParseAddrPort("[::1]:4"), Own: true, UID: 7},
		addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1%eth0")},
	}
	pod, _ := pair(t, f)
	r := flow.Request{Dst: netip.MustParseAddrPort("10.0.0.1:80"), Proto: flow.TCP, UID: 1000, Payload: []byte{}, HTTP: &flow.HTTP{Headers: [][2]string{{"a", "b"}}}}
	got, err := pod.Send(t.Context(), r)
	if err != nil || !reflect.DeepEqual(got, f.sent) {
		t.Errorf("sent %+v, %v", got, err)
	}
	if !reflect.DeepEqual(f.request, r) {
		t.Errorf("the request came as %+v", f.request)
	}
	n, err := pod.Resolve(t.Context(), "svc", 1000, 7)
	if want := (flow.Named{Name: "svc", By: flow.NamedServer, Addrs: f.addrs, UID: 1000, GID: 7}); err != nil || !reflect.DeepEqual(n, want) {
		t.Errorf("resolved %+v, %v", n, err)
	}
}

// Every field of what is carried arrives: one that is added and cannot be carried fails here.
func TestEveryFieldIsCarried(t *testing.T) {
	for _, v := range []any{
		&flow.Request{}, &flow.Named{}, &flow.Change{}, &flow.Policy{}, &flow.Observation{}, &inspect.Sent{}, &inspect.Call{},
		&gap{}, &flow.Need{}, &inspect.ObserveOptions{}, &flow.Conn{},
	} {
		fill(reflect.ValueOf(v).Elem(), new(int))
		raw, err := json.Marshal(v)
		if err != nil {
			t.Errorf("%T: %v", v, err)
			continue
		}
		got := reflect.New(reflect.TypeOf(v).Elem())
		if err := json.Unmarshal(raw, got.Interface()); err != nil || !reflect.DeepEqual(got.Interface(), v) {
			t.Errorf("%T came as %+v, %v\nwant %+v", v, got.Elem(), err, v)
		}
	}
}

// What a watch lost arrives with the gaps' every field.
func TestLossIsCarried(t *testing.T) {
	var want flow.Loss
	fill(reflect.ValueOf(&want).Elem(), new(int))
	raw, err := json.Marshal(lossOf(want))
	if err != nil {
		t.Fatal(err)
	}
	var got loss
	if err := json.Unmarshal(raw, &got); err != nil || !reflect.DeepEqual(got.flow(), want) {
		t.Errorf("came as %+v, %v\nwant %+v", got.flow(), err, want)
	}
}

// fill gives every field a value of its own.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(int64(*n), 0).UTC()))
		return
	case netip.AddrPort:
		v.Set(reflect.ValueOf(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(*n)}), uint16(*n))))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{10, 0, 0, byte(*n)})))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(*n)}), 32)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, val := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n)
		fill(val, n)
		v.SetMapIndex(key, val)
	case reflect.String:
		v.SetString(fmt.Sprint("s", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(int64(*n))
	case reflect.Uint8:
		v.SetUint(uint64(1))
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n))
	default:
		panic(fmt.Sprint("no value for ", v.Type()))
	}
}

func TestAnotherProtocolIsRefused(t *testing.T) {
	_, err := dialHostile(t, func(string) string {
		return fmt.Sprintf(`{"Protocol":%d,"Version":"9.9"}`, Protocol+1)
	})
	if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "9.9") {
		t.Errorf("error %v", err)
	}
}
