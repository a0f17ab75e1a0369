// Package wire is the vocabulary that the guest's init and its host speak on the control port.
//
// # Place
//
// Imported by internal/pid1 (guest side) and internal/attach (host side); it imports neither. Both sides read this
// package to know what they may say.
//
// # Idea
//
// Each message is one JSON object on one line with exactly one member, whose name is the kind of the message:
//
//	guest -> host  {"hello":{...}}  {"started":{...}}  {"exit":{...}}  {"error":{...}}  {"log":{...}}
//	host -> guest  {"run":{...}}  {"winsize":{...}}  {"signal":{...}}  {"stdinEOF":{...}}  {"close":{...}}  {"poweroff":{}}
//
// A conversation is: hello, run, started, any number of winsize, signal, stdinEOF, close and log, exit, poweroff. The bytes
// of the three standard streams travel on ports of their own. Their ends are told here with byte counts ([StdinEOF],
// [Exit]), because a virtio-serial port cannot say where a stream ends.
//
// What is to be done to the guest before the command starts (mounts, modules, another root) is a list of [Step] values,
// carried out in their order, so that a new need is a new list and seldom a new message.
//
// # Invariants
//
// A decoded message is in bounds: one member, known fields only, no NUL byte where the kernel wants a string, counts that
// fit an int64, text of the guest with nothing in it that could steer a terminal. A line above the limit of its direction
// ([MaxRequest], [MaxReport]) is an error before it is parsed.
//
// # Limits
//
// argv and env may hold any bytes but NUL (they travel as base64); paths of steps must be UTF-8. There is no negotiation:
// both sides must speak [Protocol].
package wire
