package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Ready asks the server whether it is ready. Its one word says why it is not.
func (c *Client) Ready(ctx context.Context) error {
	answer, err := c.once(ctx, &request{method: "GET", path: "/readyz"})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	word, err := io.ReadAll(io.LimitReader(answer.Body, 64))
	if err != nil {
		return fmt.Errorf("ask whether the server is ready: %w", err)
	}
	if strings.TrimSpace(string(word)) != "ready" {
		return errors.New("the server does not answer as a registry does")
	}
	return nil
}

// Metrics are the server's figures in the text format of Prometheus. The caller closes
// them.
func (c *Client) Metrics(ctx context.Context) (io.ReadCloser, error) {
	answer, err := c.send(ctx, &request{method: "GET", path: "/metrics", repeatable: true})
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}
