package xds

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/lab/scenes"
)

// What Envoy has by way of the control plane is what it has when it reads the file itself, in every
// scene, and of a file that is written in every way that Envoy's own reader takes.
func TestServedIsTheFile(t *testing.T) {
	odd, err := os.ReadFile(filepath.Join("testdata", "odd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(scenes.Names(), "odd") {
		t.Run(name, func(t *testing.T) {
			scene := name
			if name == "odd" {
				scene = "mesh"
			}
			p := bare(t, scene, lab.NFT)
			if name == "odd" {
				p.serves(string(odd))
			}
			file, err := os.ReadFile(p.file)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.lab.StartEnvoy(file); err != nil {
				t.Fatal(err)
			}
			want := p.dump()
			if err := p.lab.StopEnvoy(); err != nil {
				t.Fatal(err)
			}
			p.start()
			p.envoy()
			got := p.dump()
			for kind, all := range want {
				if len(all) == 0 {
					t.Errorf("no %s was read of Envoy", kind)
				}
				for key, one := range all {
					if !reflect.DeepEqual(got[kind][key], one) {
						t.Errorf("%s %s\nby the file      %v\nover ADS         %v", kind, key, one, got[kind][key])
					}
				}
			}
			extra := map[string]bool{"meshtop-controlplane": true, "BlockAllCluster": true, "AllowAll": true}
			for kind, all := range got {
				for key := range all {
					if want[kind][key] == nil && (kind != "cluster" || !extra[key]) {
						t.Errorf("%s %s is not in the file", kind, key)
					}
				}
			}
		})
	}
}

// dump is Envoy's own account of its listeners and clusters, by kind and name, and of
// what else its bootstrap holds.
func (p *plane) dump() map[string]map[string]any {
	p.t.Helper()
	scene := string(p.lab.Scene.Envoy)
	port := "9901"
	if strings.Contains(scene, "port_value: 15000 }") {
		port = "15000"
	}
	text, err := p.lab.InPod("curl", "-sS", "127.0.0.1:"+port+"/config_dump")
	if err != nil {
		p.t.Fatal(err)
	}
	type holder struct{ Listener, Cluster map[string]any }
	var dump struct {
		Configs []struct {
			Bootstrap map[string]any
			Static    []holder `json:"static_listeners"`
			Dynamic   []struct {
				Active holder `json:"active_state"`
			} `json:"dynamic_listeners"`
			Clusters []holder `json:"static_clusters"`
			Active   []holder `json:"dynamic_active_clusters"`
		}
	}
	if err := json.Unmarshal([]byte(text), &dump); err != nil {
		p.t.Fatal(err)
	}
	out := map[string]map[string]any{"listener": {}, "cluster": {}, "rest": {}}
	for _, c := range dump.Configs {
		if node, ok := c.Bootstrap["node"].(map[string]any); ok {
			c.Bootstrap["node"] = node["metadata"] // the rest is Envoy's own, and long
		}
		for key, v := range c.Bootstrap {
			if v != nil && key != "static_resources" && key != "dynamic_resources" {
				out["rest"][key] = v
			}
		}
		for _, d := range c.Dynamic {
			c.Static = append(c.Static, d.Active)
		}
		for _, h := range c.Static {
			out["listener"][h.Listener["name"].(string)] = h.Listener
		}
		for _, h := range append(c.Clusters, c.Active...) {
			out["cluster"][h.Cluster["name"].(string)] = h.Cluster
		}
	}
	return out
}
