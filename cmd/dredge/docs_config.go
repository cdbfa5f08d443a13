package main

import (
	"bytes"
	"fmt"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"dredge/config"
)

// configReference walks the configuration's types and takes each key's meaning from its comment in the source.
func configReference(root string) ([]byte, error) {
	d := &configDocs{root: root, comments: map[string]map[string]string{}}
	d.out.WriteString(generated + "# Configuration\n\nOne YAML file; an unknown key is an error. Every key can be overridden by an environment variable: `http.listen` by\n`" +
		config.EnvName("http.listen") + "` (the value is YAML, so lists are `[a, b]`). `dredge config -c FILE` prints what is in force, `dredge check -c FILE` tries it.\n")
	c := config.Default()
	if err := d.section(reflect.ValueOf(c), ""); err != nil {
		return nil, err
	}
	return d.out.Bytes(), nil
}

type configDocs struct {
	root     string
	out      bytes.Buffer
	comments map[string]map[string]string // package path → Type.Field → comment
}

func (d *configDocs) section(v reflect.Value, prefix string) error {
	type key struct {
		path, doc string
		value     reflect.Value
	}
	var values, sections []key
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		doc, err := d.comment(v.Type(), f.Name)
		if err != nil {
			return err
		}
		k := key{path: strings.TrimPrefix(prefix+"."+name, "."), doc: doc, value: v.Field(i)}
		if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[time.Time]() {
			sections = append(sections, k)
			continue
		}
		values = append(values, k)
	}
	if len(values) > 0 && prefix != "" {
		d.out.WriteString("\n| key | default | meaning |\n| --- | --- | --- |\n")
		for _, k := range values {
			fmt.Fprintf(&d.out, "| `%s` | %s | %s |\n", k.path, defaultText(k.value), k.doc)
			if t := k.value.Type(); t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct {
				if err := d.elements(t.Elem(), k.path+"[]"); err != nil {
					return err
				}
			}
		}
	}
	for _, k := range sections {
		fmt.Fprintf(&d.out, "\n## %s\n\n%s\n", k.path, k.doc)
		if err := d.section(k.value, k.path); err != nil {
			return err
		}
	}
	return nil
}

// elements documents the keys of a list's elements in the same table.
func (d *configDocs) elements(t reflect.Type, prefix string) error {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		doc, err := d.comment(t, f.Name)
		if err != nil {
			return err
		}
		fmt.Fprintf(&d.out, "| `%s.%s` | | %s |\n", prefix, name, doc)
	}
	return nil
}

func defaultText(v reflect.Value) string {
	if v.IsZero() {
		switch v.Kind() {
		case reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
		default:
			return ""
		}
	}
	if v.Kind() == reflect.Slice && v.Len() == 0 {
		return ""
	}
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct {
		return fmt.Sprintf("%d, built in", v.Len())
	}
	return fmt.Sprintf("`%v`", v.Interface())
}

// comment returns the comment of a field as one line.
func (d *configDocs) comment(t reflect.Type, field string) (string, error) {
	pkg := strings.TrimPrefix(t.PkgPath(), "dredge/")
	if d.comments[pkg] == nil {
		found, err := fieldComments(filepath.Join(d.root, pkg))
		if err != nil {
			return "", err
		}
		d.comments[pkg] = found
	}
	doc := d.comments[pkg][t.Name()+"."+field]
	if doc == "" {
		return "", fmt.Errorf("%s: %s.%s has no comment; the reference page is made of them", pkg, t.Name(), field)
	}
	// The comment begins with the field's Go name; people know the key.
	if f, ok := t.FieldByName(field); ok {
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if rest, ok := strings.CutPrefix(doc, field+" "); ok {
			doc = "`" + key + "` " + rest
		}
	}
	return doc, nil
}

func fieldComments(dir string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no sources in %s; run this at the root of the repository", dir)
	}
	out := map[string]string{}
	fset := token.NewFileSet()
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := goparser.ParseFile(fset, path, nil, goparser.ParseComments)
		if err != nil {
			return nil, err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			s, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, field := range s.Fields.List {
				for _, name := range field.Names {
					out[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(field.Doc.Text()), " ")
				}
			}
			return true
		})
	}
	return out, nil
}
