// Build builds the S3 servers that the tests run against, so that no test has to wait
// for it: go run ./blob/blobtest/servers/build [versitygw] [minio]
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"modelbucket/blob/blobtest/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	names := os.Args[1:]
	if len(names) == 0 {
		names = []string{servers.VersityGW, servers.MinIO}
	}
	for _, name := range names {
		path, err := servers.Build(ctx, name, os.Stderr)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(path)
	}
}
