package lease_test

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// recordingClient keeps what was asked for of tables.
type recordingClient struct {
	*dynamodb.Client
	created []*dynamodb.CreateTableInput
	backups int
}

func (c *recordingClient) CreateTable(ctx context.Context, in *dynamodb.CreateTableInput, opts ...func(*dynamodb.Options)) (*dynamodb.CreateTableOutput, error) {
	c.created = append(c.created, in)
	return c.Client.CreateTable(ctx, in, opts...)
}

func (c *recordingClient) UpdateContinuousBackups(ctx context.Context, in *dynamodb.UpdateContinuousBackupsInput, opts ...func(*dynamodb.Options)) (*dynamodb.UpdateContinuousBackupsOutput, error) {
	c.backups++
	return c.Client.UpdateContinuousBackups(ctx, in, opts...)
}
