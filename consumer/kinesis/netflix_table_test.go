package kinesis

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

// javaShapes are the attributes, with their types, of the leases that a version of Amazon's KCL left in its table: those that every row has, and all.
func javaShapes(t *testing.T, table string) (always, ever map[string]string) {
	t.Helper()
	raw, err := os.ReadFile("lease/testdata/java-tables.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tables map[string][]map[string]map[string]any `json:"tables"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	ever = map[string]string{}
	for _, row := range file.Tables[table] {
		if e, ok := row["entityType"]; ok && e["S"] != "LEASE" {
			continue
		}
		if _, ok := row["leaseCounter"]; !ok {
			continue // the coordinator's rows
		}
		shape := map[string]string{}
		for attr, v := range row {
			for typ := range v {
				shape[attr], ever[attr] = typ, typ
			}
		}
		if always == nil {
			always = shape
		}
		for attr := range always {
			if shape[attr] == "" {
				delete(always, attr)
			}
		}
	}
	if len(always) == 0 {
		t.Fatalf("no table %q in the test data", table)
	}
	return always, ever
}

// readAs2x reads a row as KCL 2.x does: by these names and types, empty where an attribute is missing, ignoring what it does not know. It fails
// where KCL 2.x would throw.
func readAs2x(row map[string]dynamotypes.AttributeValue) (string, error) {
	text := func(name string) string {
		if s, ok := row[name].(*dynamotypes.AttributeValueMemberS); ok {
			return s.Value
		}
		return ""
	}
	number := func(name string) (int64, error) {
		n, ok := row[name].(*dynamotypes.AttributeValueMemberN)
		if !ok {
			return 0, fmt.Errorf("%s is %T", name, row[name])
		}
		return strconv.ParseInt(n.Value, 10, 64)
	}
	counter, err := number("leaseCounter")
	if err != nil {
		return "", err
	}
	if _, err := number("ownerSwitchesSinceCheckpoint"); err != nil {
		return "", err
	}
	sub, err := number("checkpointSubSequenceNumber")
	if err != nil {
		return "", err
	}
	at := text("checkpoint")
	switch at {
	case "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP", "SHARD_END":
	default:
		if at == "" || strings.Trim(at, "0123456789") != "" {
			return "", fmt.Errorf("checkpoint is %q, no sequence number", at)
		}
	}
	if counter < 0 || sub < 0 || text("leaseKey") == "" {
		return "", fmt.Errorf("row %v", row)
	}
	return text("leaseKey") + " " + text("leaseOwner") + " " + at, nil
}

// TestL8LeaseTableIsReadableByKCLTools: a table that our workers have lived in, through a crash, a reshard and a stop, has no attribute whose name or type
// Java's tables of 2.7.2 and 3.5.1 do not have, has those that each of their rows has, and no row that is not a lease; a reader that does what
// KCL 2.x does lists every row. That Amazon's own KCL 2.7.2 and 3.5.1 read them is what test/interop runs (TestL8TableIsReadByKCL2x, make interop).
func TestL8LeaseTableIsReadableByKCLTools(t *testing.T) {
	overSDK(t, 3, func(b *bench, server *awsfake.Server) {
		b.cfg.CleanupCompleted = false // so that rows of ended shards stay to be looked at
		a := b.start("dredge-a")
		b.start("dredge-b")
		b.putKeys(server, 5)
		b.wantAll(time.Minute)
		if err := server.Kinesis().Reshard(b.cfg.StreamName, 5); err != nil {
			t.Fatal(err)
		}
		b.advance(5 * time.Second)
		b.putKeys(server, 5)
		b.wantAll(time.Minute)
		a.kill()
		b.start("dredge-c")
		b.putKeys(server, 5)
		b.wantAll(time.Minute)
		b.advance(time.Minute)

		always2, _ := javaShapes(t, "kcl-2.7.2")
		always3, ever := javaShapes(t, "kcl-3.5.1 after a reshard")
		_, handOff := javaShapes(t, "kcl-3.5.1 during a hand-off")
		maps.Copy(ever, handOff)
		client := awsfaketest.DynamoDB(server)
		look := func(owned bool) []string {
			b.Helper()
			out, err := client.Scan(b.Context(), &dynamodb.ScanInput{TableName: aws.String(b.cfg.Table())})
			if err != nil {
				b.Fatal(err)
			}
			var listed []string
			for _, row := range out.Items {
				line, err := readAs2x(row)
				if err != nil {
					b.Errorf("KCL 2.x can't read a row: %v", err)
				}
				listed = append(listed, line)
				shape := map[string]string{}
				for attr, v := range row {
					shape[attr] = strings.TrimPrefix(fmt.Sprintf("%T", v), "*types.AttributeValueMember")
					if ever[attr] != shape[attr] {
						b.Errorf("%s: attribute %s of type %s, Java's is of type %q", line, attr, shape[attr], ever[attr])
					}
				}
				for _, always := range []map[string]string{always2, always3} {
					for attr, typ := range always {
						// Java, too, leaves the owner out of a lease that nobody has; the test data's tables have owners everywhere.
						if attr == "leaseOwner" && (!owned || shape["checkpoint"] == "S" && strings.HasSuffix(line, "SHARD_END")) || attr == "throughputKBps" {
							continue
						}
						if shape[attr] != typ {
							b.Errorf("%s: attribute %s is of type %q, Java's rows all have it, of type %s", line, attr, shape[attr], typ)
						}
					}
				}
			}
			slices.Sort(listed)
			return listed
		}
		listed := look(true)
		if want := len(server.Kinesis().Shards(b.cfg.StreamName)); len(listed) != want {
			b.Errorf("%d rows for %d shards: %q", len(listed), want, listed)
		}
		ended := 0
		for _, l := range listed {
			if strings.HasSuffix(l, " SHARD_END") {
				ended++
				continue
			}
			if owner := strings.Fields(l)[1]; owner != "dredge-b" && owner != "dredge-c" {
				b.Errorf("owner %q in %q", owner, l)
			}
		}
		if ended < 3 {
			b.Errorf("%d ended shards in the table: the reshard did not happen: %q", ended, listed)
		}
		for _, r := range b.running[1:] {
			r.stop()
		}
		if after := look(false); len(after) != len(listed) {
			b.Errorf("%d rows after all workers stopped, %d before", len(after), len(listed))
		}
	})
}
