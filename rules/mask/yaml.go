package mask

import (
	"bytes"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// yamlPart masks YAML by the rules of JSON. It is written anew only where something was
// masked; what cannot be read cannot be masked, and is an error.
func yamlPart(data []byte) ([]byte, int, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	dec := yaml.NewDecoder(bytes.NewReader(data))
	count := 0
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, 0, fmt.Errorf("it is no YAML, so secrets in it cannot be found: %w", err)
		}
		y := yamlMasker{}
		y.node(&doc, level{})
		count += y.count
		if err := enc.Encode(&doc); err != nil {
			return nil, 0, err
		}
	}
	if count == 0 {
		return data, 0, nil
	}
	if err := enc.Close(); err != nil {
		return nil, 0, err
	}
	return out.Bytes(), count, nil
}

type yamlMasker struct{ count int }

// node masks a value that stands at l. Aliases point to nodes that are met elsewhere.
func (y *yamlMasker) node(n *yaml.Node, l level) {
	switch n.Kind {
	case yaml.DocumentNode:
		for _, c := range n.Content {
			y.node(c, l)
		}
	case yaml.SequenceNode:
		l.holder = l.holder || holder(l.key)
		for _, c := range n.Content {
			y.node(c, l)
		}
	case yaml.MappingNode:
		y.mapping(n, l)
	case yaml.ScalarNode:
		y.scalar(n, l)
	}
}

func (y *yamlMasker) mapping(n *yaml.Node, l level) {
	in := level{object: true, holder: l.holder || holder(l.key)}
	if secret(l.subject) && valueOf(l.key) {
		in.subject = l.subject
	}
	for i := 0; i+1 < len(n.Content); i += 2 { // the name may stand after the value
		if k := n.Content[i].Value; (k == "key" || k == "name" || k == "header") && n.Content[i+1].Kind == yaml.ScalarNode {
			in.subject = n.Content[i+1].Value
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		in.key = n.Content[i].Value
		y.node(n.Content[i+1], in)
	}
}

func (y *yamlMasker) scalar(n *yaml.Node, l level) {
	if squash(l.key) == applied {
		in := scanner{in: []byte(n.Value)}
		in.run()
		n.Value = string(in.bytes())
		y.count += in.count
		return
	}
	if n.Tag == "!!bool" || n.Tag == "!!null" || n.Value == "" || n.Value == Text || !masks(l) {
		return
	}
	n.SetString(Text)
	n.Style = yaml.DoubleQuotedStyle
	y.count++
}
