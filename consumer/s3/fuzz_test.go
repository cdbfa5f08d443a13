package s3

import (
	"bytes"
	"compress/gzip"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// FuzzMouthful reads what a worker is handed: a message of the second queue, and the ledger's row of the mouthful that it names, with
// its list of files, packed or not. What is read is bounded, and a list that was packed comes back.
func FuzzMouthful(f *testing.F) {
	list, err := packList([]Object{{Bucket: "logs", Key: "AWSLogs/1/vpcflowlogs/a.log.gz", Size: 5}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{"mouthful":"01HZ"}`, list, `{"file":1}`)
	f.Add(`{"mouthful":""}`, []byte("not gzip"), `{`)
	f.Add(`[]`, []byte{}, ``)
	f.Fuzz(func(t *testing.T, body string, files []byte, progress string) {
		if id, ok := mouthfulNamed(body); ok == (id == "") {
			t.Fatalf("id %q, %t", id, ok)
		}
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write(files); err != nil || z.Close() != nil {
			t.Fatal(err)
		}
		for _, list := range [][]byte{files, packed.Bytes()} {
			m, err := parseMouthful("id", item{
				attrState: str("sent"), attrBytes: number(7), attrProgress: str(progress), attrList: &types.AttributeValueMemberB{Value: list},
			})
			if err != nil {
				continue
			}
			again, err := packList(m.Files)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := unpackList(again); err != nil || len(back) != len(m.Files) {
				t.Fatalf("%d files of %d came back: %v", len(back), len(m.Files), err)
			}
		}
	})
}
