// One WebSocket over a TCP connection (RFC 6455), as a client, with buffers that are used again. .NET's own ClientWebSocket
// allocates for each message, and older Unity versions do not have it on every platform.

using System;
using System.IO;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Text;
using System.Threading;

namespace Causeway
{
    /// <summary>Why a connection ended.</summary>
    public sealed class LineClosed : Exception
    {
        public readonly int Code;
        public readonly string Reason;

        public LineClosed(int code, string reason) : base("closed with " + code + ": " + reason)
        {
            Code = code;
            Reason = reason;
        }
    }

    /// <summary>One connection, over ws:// or wss://.</summary>
    public sealed class WebSocketLine : IDisposable
    {
        const int Binary = 2, Close = 8, Ping = 9, Pong = 10;

        readonly Socket socket;
        // Over wss:// all bytes pass through it.
        readonly Secured secured;
        readonly Random mask = new Random();
        byte[] received = new byte[1 << 16];
        int from, to;
        byte[] message = new byte[1 << 16];
        int length;
        byte[] sent = new byte[1 << 12];

        /// <summary>Connect, and wait for the upgrade, `withinMs` at most for each.</summary>
        public WebSocketLine(Uri url, string key, int withinMs, RemoteCertificateValidationCallback trust = null)
        {
            var isSecure = url.Scheme == "wss";
            if (!isSecure && url.Scheme != "ws") throw new ArgumentException("a walk connects to ws:// or wss://, not to " + url.Scheme + "://");
            socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                var connecting = socket.BeginConnect(url.Host, url.Port >= 0 ? url.Port : isSecure ? 443 : 80, null, null);
                if (!connecting.AsyncWaitHandle.WaitOne(withinMs)) throw new LineClosed(1006, "the server does not answer");
                socket.EndConnect(connecting);
                if (isSecure) secured = new Secured(socket, url.Host, withinMs, trust);
                Upgrade(url, key, withinMs);
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        void Upgrade(Uri url, string key, int withinMs)
        {
            var nonce = new byte[16];
            using (var random = RandomNumberGenerator.Create()) random.GetBytes(nonce);
            var challenge = Convert.ToBase64String(nonce);
            var request = "GET " + url.PathAndQuery + " HTTP/1.1\r\nHost: " + url.Authority + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + challenge + "\r\n"
                + (string.IsNullOrEmpty(key) ? "" : "Authorization: Bearer " + key + "\r\n") + "\r\n";
            Write(Encoding.ASCII.GetBytes(request), request.Length);
            int end;
            while ((end = EndOfHead()) < 0)
            {
                if (!IsReadable(withinMs)) throw new LineClosed(1006, "the server does not answer the upgrade");
                if (to == received.Length) throw new LineClosed(1006, "the answer to the upgrade has no end");
                to += Receive(received, to, received.Length - to);
            }
            var head = Encoding.ASCII.GetString(received, 0, end);
            from = end;
            if (!head.StartsWith("HTTP/1.1 101"))
            {
                var body = Encoding.UTF8.GetString(received, from, to - from).Trim();
                throw new LineClosed(1006, "HTTP " + head.Substring(9, head.IndexOf('\r') - 9) + (body == "" ? "" : ": " + body));
            }
            using (var sha = SHA1.Create())
            {
                var expected = sha.ComputeHash(Encoding.ASCII.GetBytes(challenge + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
                if (head.IndexOf(Convert.ToBase64String(expected), StringComparison.Ordinal) < 0)
                    throw new LineClosed(1002, "the server's answer to the upgrade is not for this client");
            }
        }

        int EndOfHead()
        {
            for (var i = 3; i < to; i++)
                if (received[i - 3] == '\r' && received[i - 2] == '\n' && received[i - 1] == '\r' && received[i] == '\n') return i + 1;
            return -1;
        }

        /// <summary>The next binary message, if one is whole within `waitMs`: its bytes stand in `Message` until the next call.</summary>
        public bool Receive(int waitMs)
        {
            while (true)
            {
                while (from < to)
                {
                    if (TakeFrame()) return true;
                    if (incomplete) break;
                }
                if (!IsReadable(waitMs)) return false;
                Compact();
                to += Receive(received, to, received.Length - to);
                waitMs = 0;
            }
        }

        /// <summary>The message that came last.</summary>
        public Slice Message { get { return new Slice(message, 0, length); } }

        bool incomplete, unfinished;

        // One frame, if it is whole; true where it ends a message.
        bool TakeFrame()
        {
            incomplete = true;
            var at = from;
            if (to - at < 2) return false;
            int first = received[at], second = received[at + 1];
            at += 2;
            if ((second & 0x80) != 0 || (first & 0x70) != 0) throw new LineClosed(1002, "a frame that a server may not send");
            long size = second & 0x7f;
            var wide = size == 126 ? 2 : size == 127 ? 8 : 0;
            if (to - at < wide) return false;
            if (wide > 0)
            {
                size = 0;
                for (var i = 0; i < wide; i++) size = size << 8 | received[at + i];
                at += wide;
            }
            if (size < 0 || size > int.MaxValue / 2) throw new LineClosed(1009, "a message of " + size + " bytes");
            if (to - at < size)
            {
                Grow(ref received, at - from + (int)size);
                return false;
            }
            from = at + (int)size;
            incomplete = false;
            var opcode = first & 0x0f;
            if (opcode == Ping) Send(Pong, received, at, (int)size);
            else if (opcode == Close)
            {
                var code = size >= 2 ? received[at] << 8 | received[at + 1] : 1005;
                var reason = size > 2 ? Encoding.UTF8.GetString(received, at + 2, (int)size - 2) : "";
                try { Send(Close, received, at, Math.Min((int)size, 2)); } catch (LineClosed) { }
                throw new LineClosed(code, reason);
            }
            else if (opcode == Binary || opcode == 0)
            {
                if (opcode == Binary) length = 0;
                Grow(ref message, length + (int)size);
                Buffer.BlockCopy(received, at, message, length, (int)size);
                length += (int)size;
                unfinished = (first & 0x80) == 0;
                return !unfinished;
            }
            else if (opcode != Pong) throw new LineClosed(1003, "a message that is not binary");
            return false;
        }

        void Compact()
        {
            if (from == 0) return;
            Buffer.BlockCopy(received, from, received, 0, to - from);
            to -= from;
            from = 0;
        }

        static void Grow(ref byte[] buffer, int needed)
        {
            if (buffer.Length < needed) Array.Resize(ref buffer, Math.Max(needed, 2 * buffer.Length));
        }

        bool IsReadable(int waitMs)
        {
            return secured != null ? secured.IsReadable(waitMs) : socket.Poll(checked(1000 * waitMs), SelectMode.SelectRead);
        }

        int Receive(byte[] buffer, int at, int room)
        {
            if (secured != null) return secured.Receive(buffer, at, room);
            try
            {
                var came = socket.Receive(buffer, at, room, SocketFlags.None);
                if (came == 0) throw new LineClosed(1006, "the line ended without a close frame");
                return came;
            }
            catch (SocketException error) { throw new LineClosed(1006, error.Message); }
        }

        /// <summary>Send one binary message.</summary>
        public void Send(byte[] bytes, int count) { Send(Binary, bytes, 0, count); }

        void Send(int opcode, byte[] bytes, int begin, int count)
        {
            Grow(ref sent, count + 14);
            var at = 0;
            sent[at++] = (byte)(0x80 | opcode);
            if (count < 126) sent[at++] = (byte)(0x80 | count);
            else if (count < 0x10000)
            {
                sent[at++] = 0x80 | 126;
                sent[at++] = (byte)(count >> 8);
                sent[at++] = (byte)count;
            }
            else
            {
                sent[at++] = 0x80 | 127;
                for (var shift = 56; shift >= 0; shift -= 8) sent[at++] = (byte)((long)count >> shift);
            }
            var key = mask.Next();
            for (var i = 0; i < 4; i++) sent[at++] = (byte)(key >> 8 * i);
            for (var i = 0; i < count; i++) sent[at + i] = (byte)(bytes[begin + i] ^ key >> 8 * (i & 3));
            Write(sent, at + count);
        }

        void Write(byte[] bytes, int count)
        {
            if (secured != null)
            {
                secured.Send(bytes, count);
                return;
            }
            try
            {
                for (var at = 0; at < count; ) at += socket.Send(bytes, at, count - at, SocketFlags.None);
            }
            catch (SocketException error) { throw new LineClosed(1006, error.Message); }
        }

        public void Dispose()
        {
            if (secured != null) secured.Dispose();
            socket.Close();
        }
    }

    /// <summary>TLS over a socket. .NET's stream cannot be asked whether there is something to read, so a thread reads ahead, by one
    /// buffer at most: a program that does not read slows the server down as it does without TLS.</summary>
    sealed class Secured : IDisposable
    {
        readonly SslStream stream;
        readonly byte[] ahead = new byte[1 << 16];
        // What the thread has read and nobody has taken.
        int from, to;
        string ended;

        public Secured(Socket socket, string host, int withinMs, RemoteCertificateValidationCallback trust)
        {
            socket.ReceiveTimeout = socket.SendTimeout = withinMs;
            stream = new SslStream(new NetworkStream(socket, false), false, trust);
            try { stream.AuthenticateAsClient(host, null, SslProtocols.Tls12, true); }
            catch (Exception error)
            {
                stream.Dispose();
                if (!(error is AuthenticationException || error is IOException || error is SocketException)) throw;
                throw new LineClosed(1006, "no connection over TLS: " + error.Message);
            }
            socket.ReceiveTimeout = socket.SendTimeout = 0;
            new Thread(ReadAhead) { IsBackground = true, Name = "causeway-tls" }.Start();
        }

        void ReadAhead()
        {
            while (true)
            {
                int came = 0;
                var why = "the line ended without a close frame";
                try { came = stream.Read(ahead, 0, ahead.Length); }
                catch (Exception error) { why = error.Message; }
                lock (ahead)
                {
                    if (came == 0) ended = why;
                    from = 0;
                    to = came;
                    Monitor.PulseAll(ahead);
                    if (came == 0) return;
                    while (from < to && ended == null) Monitor.Wait(ahead);
                    if (ended != null) return;
                }
            }
        }

        public bool IsReadable(int waitMs)
        {
            lock (ahead)
            {
                if (from == to && ended == null && waitMs > 0) Monitor.Wait(ahead, waitMs);
                return from < to || ended != null;
            }
        }

        public int Receive(byte[] buffer, int at, int room)
        {
            lock (ahead)
            {
                if (from == to) throw new LineClosed(1006, ended ?? "nothing has come");
                var count = Math.Min(room, to - from);
                Buffer.BlockCopy(ahead, from, buffer, at, count);
                from += count;
                if (from == to) Monitor.PulseAll(ahead);
                return count;
            }
        }

        public void Send(byte[] bytes, int count)
        {
            try { stream.Write(bytes, 0, count); }
            catch (IOException error) { throw new LineClosed(1006, error.Message); }
            catch (ObjectDisposedException error) { throw new LineClosed(1006, error.Message); }
        }

        public void Dispose()
        {
            lock (ahead)
            {
                ended = ended ?? "closed";
                Monitor.PulseAll(ahead);
            }
            stream.Dispose();
        }
    }
}
