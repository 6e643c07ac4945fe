// go-criu VERB IMAGES_DIR [PID]: go-criu as it comes, which starts the criu of the PATH. Prints the steps of which it is notified.
// dump PID, restore; dump-self names no pid.
package main

import (
	"fmt"
	"os"
	"strconv"

	criu "github.com/checkpoint-restore/go-criu/v7"
	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"google.golang.org/protobuf/proto"
)

type steps struct{ criu.NoNotify }

func (steps) PostDump() error {
	fmt.Println("post-dump")
	return nil
}

func (steps) PostRestore(pid int32) error {
	fmt.Println("post-restore", pid)
	return nil
}

func run(verb string, directory string, pid string) error {
	c := criu.MakeCriu()
	if _, err := c.GetCriuVersion(); err != nil {
		return fmt.Errorf("version: %w", err)
	}
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	images, err := os.Open(directory)
	if err != nil {
		return err
	}
	defer images.Close()
	opts := &rpc.CriuOpts{
		ImagesDirFd: proto.Int32(int32(images.Fd())),
		LogLevel:    proto.Int32(4),
		LogFile:     proto.String(verb + ".log"),
	}
	switch verb {
	case "dump":
		number, err := strconv.Atoi(pid)
		if err != nil {
			return err
		}
		opts.Pid = proto.Int32(int32(number))
		return c.Dump(opts, steps{})
	case "dump-self":
		return c.Dump(opts, steps{})
	default:
		return c.Restore(opts, steps{})
	}
}

func main() {
	pid := ""
	if len(os.Args) > 3 {
		pid = os.Args[3]
	}
	if err := run(os.Args[1], os.Args[2], pid); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
