package envoy

import (
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
)

// document parses one small part of the snapshot.
func document(name string, raw []byte) (tree.Node, error) {
	if err := notJSON(raw); err != nil {
		return tree.Node{}, err
	}
	d, err := tree.Parse(raw, 0)
	if err != nil {
		return tree.Node{}, err
	}
	d.Source = name
	return d.Root(), nil
}

// readServerInfo reads /server_info: version is COMMIT/1.40.0/Clean/RELEASE/BoringSSL.
func (c *Config) readServerInfo(name string, raw []byte) error {
	n, err := document(name, raw)
	if err != nil {
		return err
	}
	text := n.Field("version").Str()
	if c.version = parseVersion(text); c.version == (Version{}) {
		c.said = brief([]byte(text))
	}
	return nil
}

func parseVersion(s string) Version {
	for _, f := range strings.Split(s, "/") {
		v := strings.Split(strings.TrimSuffix(f, "-dev"), ".")
		if len(v) != 3 {
			continue
		}
		major, err1 := strconv.Atoi(v[0])
		minor, err2 := strconv.Atoi(v[1])
		patch, err3 := strconv.Atoi(v[2])
		if err1 == nil && err2 == nil && err3 == nil {
			return Version{major, minor, patch}
		}
	}
	return Version{}
}

// readRuntime reads /runtime: entries by key with the value of each layer.
func (c *Config) readRuntime(name string, raw []byte) error {
	n, err := document(name, raw)
	if err != nil {
		return err
	}
	c.runtime = map[string]string{}
	c.runtimeRead, c.runtimeDoc = true, n
	for k, v := range n.Field("entries").Members() {
		c.runtime[k] = v.Field("final_value").Str()
	}
	return nil
}

// staticRuntime is what the bootstrap's static layers say, for a snapshot without /runtime:
// layers in order, the last one that sets a key wins.
func (c *Config) staticRuntime() {
	c.runtime = map[string]string{}
	for _, l := range c.boot().Path("layered_runtime", "layers").List() {
		c.runtimeLayer("", l.Field("static_layer"))
	}
}

func (c *Config) runtimeLayer(prefix string, n tree.Node) {
	for k, v := range n.Members() {
		switch {
		case v.Kind() != tree.Object:
			c.runtime[prefix+k] = v.Str()
		case v.Field("numerator").Exists() || v.Field("denominator").Exists():
			c.runtime[prefix+k] = string(v.Raw()) // a FractionalPercent
		default:
			c.runtimeLayer(prefix+k+".", v)
		}
	}
}

// readListeners reads /listeners?format=json: names and addresses of all active listeners,
// also of those that the dump's parts do not hold.
func (c *Config) readListeners(name string, raw []byte) error {
	n, err := document(name, raw)
	if err != nil {
		return err
	}
	for _, l := range n.Field("listener_statuses").List() {
		s := liveListener{name: l.Field("name").Str()}
		for _, f := range append(l.Field("additional_local_addresses").List(), l.Field("local_address")) {
			if a, ok := readAddress(f); ok {
				s.addrs = append(s.addrs, a)
			}
		}
		c.live = append(c.live, s)
	}
	c.liveRead = true
	return nil
}

// liveListener is one line of /listeners.
type liveListener struct {
	name  string
	addrs []listenAddr
}

// readMeta reads which resources the snapshot's maker says are complete.
func (c *Config) readMeta(raw []byte) {
	n, err := document("meta.json", raw)
	if err != nil {
		return
	}
	for _, m := range n.Field("complete").List() {
		for r := resNone + 1; r < resourceEnd; r++ {
			if f := r.facts(); m.Str() == f.field || m.Str() == partsPrefix+f.field {
				c.complete[r] = true
			}
		}
	}
}
