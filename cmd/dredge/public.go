package main

import (
	"context"

	"github.com/rs/zerolog"

	"dredge/config"
	"dredge/metadata/geo"
)

// loadPublic reads everything that is configured of public addresses; nil when nothing is.
func loadPublic(ctx context.Context, c config.Config) (*geo.Geo, error) {
	if !c.Identity.Geo.Enabled() {
		return nil, nil
	}
	g, err := geo.New(c.Identity.Geo, geo.Dependencies{Logger: zerolog.Nop()})
	if err != nil {
		return nil, err
	}
	return g, g.Load(ctx)
}

// checkPublic says what is known of public addresses, or what is wrong with the files.
func checkPublic(ctx context.Context, c config.Config) (string, error) {
	g, err := loadPublic(ctx, c)
	switch {
	case err != nil:
		return "", err
	case g == nil:
		return ": nothing is configured, so public ends are internet unless their record names an AWS service; set identity.geo.ip_ranges to " + geo.PublishedRanges, nil
	}
	return ": " + g.Describe(), nil
}
