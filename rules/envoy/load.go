package envoy

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// partsPrefix begins the names of answers about one name: config_dump/RESOURCE/NAME.json, NAME
// escaped as in a URL's path. Several resources that were asked at once stand with a comma between.
const partsPrefix = "config_dump/"

// Load reads Envoy's parts of a snapshot by their names. It refers to the bytes, which must
// not change while the Config is used. A part that cannot be read is a Gap; an error is a
// config_dump.json that is none. Without any part of Envoy the Config is nil.
func Load(files map[string][]byte) (*Config, []flow.Gap, error) {
	c := &Config{unmodelled: map[string]*flow.NotModelled{}, loaded: map[*entry]string{}, cache: newCache()}
	var gaps []flow.Gap
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	found := false
	for _, name := range names {
		raw := files[name]
		var err error
		switch {
		case name == dumpPart || strings.HasPrefix(name, partsPrefix):
			err = c.dump(name, raw)
			if err != nil && name == dumpPart {
				return nil, nil, fmt.Errorf("%s: %w", name, err)
			}
		case name == "clusters.json" || strings.HasPrefix(name, "clusters/"):
			err = c.readClusters(name, raw)
		case name == "listeners.json":
			err = c.readListeners(name, raw)
		case name == "certs.json":
			err = c.readCerts(name, raw)
		case name == "runtime.json":
			err = c.readRuntime(name, raw)
		case name == "server_info.json":
			err = c.readServerInfo(name, raw)
		case name == "meta.json":
			c.readMeta(raw)
			continue
		default:
			continue
		}
		found = true
		if err == nil {
			c.lookOver(name, raw)
		}
		if err != nil {
			gaps = append(gaps, flow.Gap{Part: name, Reason: err.Error(), Broken: true})
		}
	}
	if !found {
		return nil, nil, nil
	}
	c.finish()
	return c, append(gaps, c.oddities...), nil
}

// dump indexes one config dump or element list.
func (c *Config) dump(name string, raw []byte) error {
	if err := notJSON(raw); err != nil {
		return err
	}
	p := &part{name: name, raw: raw, cache: c.cache}
	x := &indexer{scan: tree.Scanner{Raw: raw, Notes: new(tree.Notes), Types: new(tree.Types)}, part: p, unmodelled: c.unmodelled, loaded: c.loaded}
	if err := x.index(); err != nil {
		return err
	}
	switch {
	case name != dumpPart || x.sections > 0:
	case x.configs:
		return fmt.Errorf(`an empty config dump: its "configs" hold nothing`)
	default:
		return fmt.Errorf(`a JSON text without "configs" is no config dump`)
	}
	if rest, ok := strings.CutPrefix(name, partsPrefix); ok {
		x.only(c.ask(rest))
	}
	c.odd(name, x.scan.Notes, func(at int) string { return x.owner(at) })
	c.leaveOut(x)
	c.notUnderstood(x)
	c.parts = append(c.parts, p)
	c.entries = append(c.entries, x.entries...)
	c.heads = append(c.heads, x.heads...)
	c.bytes += int64(len(raw))
	if x.bootstrap != nil {
		c.bootstrap = x.bootstrap
	}
	for r, seen := range x.seen {
		c.complete[r] = c.complete[r] || seen
	}
	return nil
}

// only keeps of an answer to a question by name what was asked for: one that Envoy answers
// with sections holds no section in whole, and may hold other kinds and the bootstrap besides.
func (x *indexer) only(asked []resource) {
	if len(asked) == 0 {
		return
	}
	x.entries = slices.DeleteFunc(x.entries, func(e *entry) bool { return !slices.Contains(asked, e.res) })
	if !slices.Contains(asked, staticListeners) && !slices.Contains(asked, dynamicListeners) {
		x.heads = nil
	}
	x.seen, x.bootstrap = [resourceEnd]bool{}, nil
}

// ask notes which resources were asked for by name, so that its absence there is a fact. None:
// the part is no answer to such a question.
func (c *Config) ask(rest string) (asked []resource) {
	lists, escaped, ok := strings.Cut(strings.TrimSuffix(rest, ".json"), "/")
	if !ok {
		return nil
	}
	name, err := url.PathUnescape(escaped)
	if err != nil {
		name = escaped
	}
	fields := strings.Split(lists, ",")
	for r := resNone + 1; r < resourceEnd; r++ {
		if slices.Contains(fields, r.facts().field) {
			if c.asked == nil {
				c.asked = map[resourceName]bool{}
			}
			c.asked[resourceName{r, name}] = true
			asked = append(asked, r)
		}
	}
	return asked
}

// notJSON is the error for an answer that is a text: Envoy reports a failed conversion
// with status 200.
func notJSON(raw []byte) error {
	text := bytes.TrimLeft(raw, " \t\r\n")
	if len(text) == 0 {
		return fmt.Errorf("empty")
	}
	if text[0] == '{' {
		return nil
	}
	if line, _, _ := bytes.Cut(text, []byte{'\n'}); true {
		text = line[:min(len(line), 200)]
	}
	return fmt.Errorf("not a JSON object but %s", strconv.Quote(string(text)))
}

// finish makes the tables once everything is read.
func (c *Config) finish() {
	c.cache.sized(c.bytes)
	c.readMaker()
	c.listeners = newListeners(c.heads)
	for _, l := range c.listeners.all {
		if l.wrong { // it may own another address than the table says
			c.oddities = append(c.oddities, flow.Gap{Part: l.part.name, Broken: true, Reason: l.reference() + ": where it listens cannot be read"})
			c.complete[l.res] = false
		}
	}
	c.heads = nil
	c.clusters, c.warming, c.routes, c.endpoints = map[string]*entry{}, map[string]*entry{}, map[string]*entry{}, map[string]*entry{}
	c.ecds, c.secrets, c.awaited = map[string]*entry{}, map[string]*entry{}, map[string]*entry{}
	for _, e := range c.entries {
		if e.state != active || e.res == dynamicWarmingClusters {
			c.update(e)
		}
		if e.state == rejected {
			continue
		}
		switch e.res {
		case staticClusters, dynamicActiveClusters:
			c.clusters[e.name] = e
		case dynamicWarmingClusters:
			c.warming[e.name] = e
		case dynamicRouteConfigs:
			c.routes[e.name] = e
		case staticEndpointConfigs, dynamicEndpointConfigs:
			c.endpoints[e.name] = e
		case ecdsFilters:
			c.ecds[e.name] = e
		case staticSecrets, dynamicActiveSecrets:
			c.secrets[e.name] = e
		case dynamicWarmingSecrets:
			c.awaited[e.name] = e
		}
	}
	if c.version == (Version{}) {
		v := c.boot().Path("node", "user_agent_build_version", "version")
		c.version = Version{int(v.Field("major_number").Uint(0)), int(v.Field("minor_number").Uint(0)), int(v.Field("patch").Uint(0))}
	}
	if c.runtime == nil {
		c.staticRuntime()
	}
}

// boot is the bootstrap of the dump.
func (c *Config) boot() tree.Node { return c.bootstrap.node() }

// has says how a look-up by name in these resources went, given that none was found.
func (c *Config) has(name string, in ...resource) found {
	for _, r := range in {
		if !c.complete[r] && !c.asked[resourceName{r, name}] {
			return unread
		}
	}
	return absent
}

type resourceName struct {
	res  resource
	name string
}
