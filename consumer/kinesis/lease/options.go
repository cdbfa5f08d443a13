package lease

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Billing modes of a lease table.
const (
	BillingOnDemand    = "PAY_PER_REQUEST"
	BillingProvisioned = "PROVISIONED"
)

// TableOptions is how a missing lease table is created. A table that exists is used as it is.
type TableOptions struct {
	// BillingMode is how a new lease table is paid for: PAY_PER_REQUEST or PROVISIONED.
	BillingMode string `yaml:"billing_mode"`
	// ReadCapacity is the read capacity units of a new table with PROVISIONED billing.
	ReadCapacity int64 `yaml:"read_capacity"`
	// WriteCapacity is the write capacity units of a new table with PROVISIONED billing; each lease takes 0.3 to 0.34 writes a second.
	WriteCapacity int64 `yaml:"write_capacity"`
	// Tags are put on a new table.
	Tags map[string]string `yaml:"tags"`
	// PointInTimeRecovery keeps a new table's last 35 days restorable.
	PointInTimeRecovery bool `yaml:"point_in_time_recovery"`
	// DeletionProtection keeps a new table from being deleted by mistake.
	DeletionProtection bool `yaml:"deletion_protection"`
	// KMSKey is the key that encrypts a new table: its id, ARN or alias, "aws" for the key that AWS manages in the account; empty means the
	// key that DynamoDB owns.
	KMSKey string `yaml:"kms_key"`
}

// DefaultTableOptions is KCL's own choice: on demand, without extras.
func DefaultTableOptions() TableOptions { return TableOptions{BillingMode: BillingOnDemand} }

// maxTags is DynamoDB's limit.
const maxTags = 50

// Validate returns all that is wrong with o.
func (o TableOptions) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch o.BillingMode {
	case BillingOnDemand:
		if o.ReadCapacity != 0 || o.WriteCapacity != 0 {
			fault("read_capacity: %d and write_capacity: %d have no meaning with billing_mode %s; write PROVISIONED, or leave them out", o.ReadCapacity, o.WriteCapacity, o.BillingMode)
		}
	case BillingProvisioned:
		if o.ReadCapacity < 1 || o.WriteCapacity < 1 {
			fault("read_capacity: %d and write_capacity: %d must both be at least 1 with billing_mode PROVISIONED; 10 each is KCL's default", o.ReadCapacity, o.WriteCapacity)
		}
	default:
		fault("billing_mode: %q is unknown; write PAY_PER_REQUEST or PROVISIONED", o.BillingMode)
	}
	if len(o.Tags) > maxTags {
		fault("tags: %d are more than the %d that a table can have; leave some out", len(o.Tags), maxTags)
	}
	for _, k := range slices.Sorted(maps.Keys(o.Tags)) {
		if k == "" || len(k) > 128 || len(o.Tags[k]) > 256 {
			fault("tags: %q must have a name of 1 to 128 characters and a value of at most 256; shorten it", k)
		}
	}
	return errors.Join(errs...)
}

// Option changes what NewDynamoDB makes.
type Option func(*DynamoDB)

// WithTableOptions says how a missing table is created.
func WithTableOptions(o TableOptions) Option { return func(d *DynamoDB) { d.options = o } }

// WithApplication names the application when its lease table has another name. KCL's other tables are named after the application.
func WithApplication(name string) Option { return func(d *DynamoDB) { d.application = name } }

// create asks for the table. It says whether it was this call that made it.
func (d *DynamoDB) create(ctx context.Context) (bool, error) {
	in := &dynamodb.CreateTableInput{
		TableName:                 &d.table,
		AttributeDefinitions:      []types.AttributeDefinition{{AttributeName: aws.String(attrKey), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:                 []types.KeySchemaElement{{AttributeName: aws.String(attrKey), KeyType: types.KeyTypeHash}},
		BillingMode:               types.BillingMode(d.options.BillingMode),
		DeletionProtectionEnabled: aws.Bool(d.options.DeletionProtection),
	}
	if d.options.BillingMode == BillingProvisioned {
		in.ProvisionedThroughput = &types.ProvisionedThroughput{
			ReadCapacityUnits: aws.Int64(d.options.ReadCapacity), WriteCapacityUnits: aws.Int64(d.options.WriteCapacity),
		}
	}
	for _, k := range slices.Sorted(maps.Keys(d.options.Tags)) {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(k), Value: aws.String(d.options.Tags[k])})
	}
	if d.options.KMSKey != "" {
		in.SSESpecification = &types.SSESpecification{Enabled: aws.Bool(true), SSEType: types.SSETypeKms}
		if d.options.KMSKey != "aws" {
			in.SSESpecification.KMSMasterKeyId = aws.String(d.options.KMSKey)
		}
	}
	_, err := d.client.CreateTable(ctx, in)
	if _, ok := errors.AsType[*types.ResourceInUseException](err); ok { // another worker creates it too
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create lease table %q: %w", d.table, err)
	}
	return true, nil
}

// keepHistory turns on point-in-time recovery, which CreateTable cannot.
func (d *DynamoDB) keepHistory(ctx context.Context) error {
	_, err := d.client.UpdateContinuousBackups(ctx, &dynamodb.UpdateContinuousBackupsInput{
		TableName:                        &d.table,
		PointInTimeRecoverySpecification: &types.PointInTimeRecoverySpecification{PointInTimeRecoveryEnabled: aws.Bool(true)},
	})
	if err != nil {
		return fmt.Errorf("turn on point-in-time recovery of lease table %q: %w", d.table, err)
	}
	return nil
}
