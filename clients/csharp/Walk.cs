// A walk: one session over as many connections as it takes, polled from a game's loop. After the first frames nothing is
// allocated for one more.

using System;
using System.Collections.Generic;
using System.Net.Security;
using System.Threading;

namespace Causeway
{
    /// <summary>How a video begins. What is null or 0 is as the server has it.</summary>
    public sealed class Start
    {
        public string Prompt = "";
        public int Width, Height, Fps, MaxChunks;
        public ulong? Seed;
        public bool Paced;
        /// <summary>"raw", "jpeg" or "webp".</summary>
        public string Format = "raw";
        /// <summary>A JPEG, PNG or WebP file.</summary>
        public byte[] FirstFrame;
        /// <summary>Where the server asks for one.</summary>
        public string Key;
        /// <summary>Over wss://, whether a certificate is trusted; null: as the machine's own store says.</summary>
        public RemoteCertificateValidationCallback Trust;
    }

    /// <summary>How another video of the same session begins. What is null or 0 is as it was.</summary>
    public sealed class Beginning
    {
        public string Prompt;
        public int Width, Height;
        public ulong? Seed;
        /// <summary>A JPEG, PNG or WebP file.</summary>
        public byte[] FirstFrame;
        /// <summary>Begin without a picture.</summary>
        public bool WithoutPicture;
    }

    public enum News
    {
        /// <summary>Nothing came within the wait.</summary>
        Nothing,
        /// <summary>`Frame` is the next picture.</summary>
        Frame,
        /// <summary>`Receipt` says what became of an event.</summary>
        Receipt,
        /// <summary>There is no place yet; `Position` 1 is the next.</summary>
        Waiting,
        /// <summary>An event was not taken; `Why` says it, and the walk goes on.</summary>
        Refused,
        /// <summary>The line broke, and the walk tries to come back.</summary>
        Away,
        /// <summary>The walk goes on.</summary>
        Back,
        /// <summary>The last chunk was sent.</summary>
        Complete,
        /// <summary>The walk is over; `Why` says it.</summary>
        Ended,
    }

    /// <summary>One picture. `Data` is good until the next poll: a picture file, or RGB8 rows from the top.</summary>
    public struct Frame
    {
        public Slice Data;
        public bool IsRaw;
        public int Width, Height;
        public long Chunk;
        /// <summary>Its number in the video, from 0.</summary>
        public long Index;
        /// <summary>The largest id of the events that it shows; -1: none.</summary>
        public long EventId;
        /// <summary>When it is due, from the first frame; -1: the server does not say.</summary>
        public long PtsMs;
    }

    public struct Receipt
    {
        public long EventId;
        /// <summary>The first chunk that shows it.</summary>
        public long Chunk;
        /// <summary>Another event replaced it before any chunk could show it.</summary>
        public bool Superseded;
        /// <summary>The first video frame that shows it; -1: the server does not say.</summary>
        public long FirstFrame;
    }

    /// <summary>One session. To be used by one thread at a time.</summary>
    public sealed class Walk : IDisposable
    {
        const int OpenWithinMs = 10000, ReturnEveryMs = 250, StillEveryMs = 20000, SilentMaxMs = 45000;
        const int Outstanding = 256;
        static readonly string[] Features = { "queue", "session", "ack", "timing", "pause", "reset", "rates", "poses", "intrinsics", "receipts" };

        readonly Uri url;
        readonly Start start;
        readonly MessageWriter writer = new MessageWriter();
        readonly Queue<Receipt> receipts = new Queue<Receipt>(2 * Outstanding);
        readonly List<long> outstanding = new List<long>(Outstanding + 1);
        readonly List<int> lengths = new List<int>(64);
        readonly List<long> applied = new List<long>(Outstanding), firsts = new List<long>(Outstanding), superseded = new List<long>(Outstanding);

        WebSocketLine line;
        Thread returning;
        volatile WebSocketLine returned;
        volatile bool attempting;
        int lostAt, triedAt, heardAt, saidToWaitAt;
        bool lost, waiting, acks, hasReceipts, over;
        string token;
        long graceMs, fps, lastId, seen, whole = -1, frames;
        long arriving = -1, came, given;

        // The batch that is handed out.
        bool headerCame;
        Frame next;
        byte[] payload;
        int payloadAt, left, skip;
        long heldId, promptId;
        string held, prompt;

        /// <summary>The picture of `News.Frame`.</summary>
        public Frame Frame;
        /// <summary>Of `News.Receipt`.</summary>
        public Receipt Receipt;
        /// <summary>Of `News.Waiting`.</summary>
        public long Position;
        /// <summary>Of `News.Refused` and `News.Ended`.</summary>
        public string Why = "";
        /// <summary>How often the walk went on after a cut.</summary>
        public int Resumes;

        /// <summary>Connect and begin. Throws LineClosed where there is no connection.</summary>
        public Walk(string url, Start start)
        {
            this.url = new Uri(url);
            this.start = start;
            line = Connect();
            heardAt = Environment.TickCount;
            SayInit();
        }

        // A viewer's.
        Walk(string url, string viewToken, string format, RemoteCertificateValidationCallback trust)
        {
            this.url = new Uri(url);
            start = new Start { Format = format, Trust = trust };
            line = Connect();
            heardAt = Environment.TickCount;
            writer.Clear();
            writer.Map(format == null ? 2 : 3).Text("type").Text("watch").Text("token").Text(viewToken);
            if (format != null) writer.Text("realtime_output_format").Text(format);
            line.Send(writer.Buffer, writer.Length);
        }

        /// <summary>Watch the session that a token of its player stands for. `format` as in `Start`; null: as the player gets it. Keys and
        /// prompts are refused, but for what the player has handed over. A line that breaks is not replaced: watch again.</summary>
        public static Walk Watch(string url, string viewToken, string format = null, RemoteCertificateValidationCallback trust = null)
        {
            return new Walk(url, viewToken, format, trust);
        }

        WebSocketLine Connect() { return new WebSocketLine(url, start.Key, OpenWithinMs, start.Trust); }

        void SayInit()
        {
            writer.Clear();
            var sized = start.Width > 0 && start.Height > 0;
            var fields = 4 + (sized ? 1 : 0) + (start.Fps > 0 ? 1 : 0) + (start.MaxChunks > 0 ? 1 : 0) + (start.Seed.HasValue ? 1 : 0)
                + (start.Paced ? 1 : 0) + (start.FirstFrame != null ? 1 : 0);
            writer.Map(fields).Text("type").Text("init").Text("prompt").Text(start.Prompt).Text("realtime_output_format").Text(start.Format);
            writer.Text("protocol_features").List(Features.Length);
            foreach (var feature in Features) writer.Text(feature);
            if (sized) writer.Text("size").Text(start.Width + "x" + start.Height);
            if (start.Fps > 0) writer.Text("fps").Integer((ulong)start.Fps);
            if (start.MaxChunks > 0) writer.Text("max_chunks").Integer((ulong)start.MaxChunks);
            if (start.Seed.HasValue) writer.Text("seed").Integer(start.Seed.Value);
            if (start.Paced) writer.Text("realtime_output_pacing").Bool(true);
            if (start.FirstFrame != null) writer.Text("first_frame").Bytes(start.FirstFrame);
            line.Send(writer.Buffer, writer.Length);
        }

        /// <summary>From now on these keys are held: "wl" walks and turns right, "" lets go. Gives the event's id.</summary>
        public long Hold(string keys)
        {
            held = keys;
            led = Led.Keys;
            heldId = NewId();
            SayHeld();
            return heldId;
        }

        /// <summary>Move at a part of what a held key does, each from -1 to 1: ahead, to the right, turning right, looking up. Only in
        /// worlds that follow rates. Gives the event's id.</summary>
        public long Rates(double forward, double strafe, double yaw, double pitch)
        {
            numbers[0] = forward;
            numbers[1] = strafe;
            numbers[2] = yaw;
            numbers[3] = pitch;
            led = Led.Rates;
            heldId = NewId();
            SayHeld();
            return heldId;
        }

        /// <summary>Lead the camera: 16 numbers row by row that take a point of the world into the camera's axes (x right, y down, z
        /// forward). Only in worlds that follow poses. Gives the event's id.</summary>
        public long Pose(double[] cameraFromWorld)
        {
            if (cameraFromWorld.Length != 16) throw new ArgumentException("a pose has 16 numbers");
            cameraFromWorld.CopyTo(numbers, 0);
            led = Led.Pose;
            heldId = NewId();
            SayHeld();
            return heldId;
        }

        enum Led { Keys, Rates, Pose }

        static readonly string[] RateNames = { "forward", "strafe", "yaw", "pitch" };
        readonly double[] numbers = new double[16];
        Led led;

        void SayHeld()
        {
            writer.Clear();
            writer.Map(4).Text("type").Text("event").Text("kind").Text("camera_actions").Text("event_id").Integer((ulong)heldId);
            writer.Text("payload").Map(2).Text("mode").Text("state").Text("transitions").List(1).Map(1);
            if (led == Led.Keys)
            {
                writer.Text("actions").List(held.Length);
                foreach (var key in held) writer.Text(key < Keys.Length ? Keys[key] : key.ToString());
            }
            else if (led == Led.Rates)
            {
                writer.Text("rates").Map(4);
                for (var i = 0; i < 4; i++) writer.Text(RateNames[i]).Float(numbers[i]);
            }
            else
            {
                writer.Text("pose").List(16);
                foreach (var number in numbers) writer.Float(number);
            }
            Transmit();
        }

        static readonly string[] Keys = AllKeys();

        static string[] AllKeys()
        {
            var keys = new string[128];
            for (var key = 0; key < keys.Length; key++) keys[key] = ((char)key).ToString();
            return keys;
        }

        /// <summary>Draw what follows under another prompt. Gives the event's id.</summary>
        public long Prompt(string text)
        {
            prompt = text;
            promptId = NewId();
            SayPrompt();
            return promptId;
        }

        void SayPrompt()
        {
            writer.Clear();
            writer.Map(4).Text("type").Text("event").Text("kind").Text("prompt").Text("event_id").Integer((ulong)promptId);
            writer.Text("payload").Text(prompt);
            Transmit();
        }

        /// <summary>Begin another video in the same session. Only for a server with the feature `reset`; what does not fit is refused,
        /// and the walk goes on. Gives the event's id.</summary>
        public long Reset(Beginning beginning)
        {
            var sized = beginning.Width > 0 && beginning.Height > 0;
            var pictured = beginning.WithoutPicture || beginning.FirstFrame != null;
            writer.Clear();
            writer.Map(4).Text("type").Text("event").Text("kind").Text("reset").Text("event_id").Integer((ulong)++lastId).Text("payload");
            writer.Map((beginning.Prompt != null ? 1 : 0) + (sized ? 1 : 0) + (beginning.Seed.HasValue ? 1 : 0) + (pictured ? 1 : 0));
            if (beginning.Prompt != null) writer.Text("prompt").Text(beginning.Prompt);
            if (sized) writer.Text("size").Text(beginning.Width + "x" + beginning.Height);
            if (beginning.Seed.HasValue) writer.Text("seed").Integer(beginning.Seed.Value);
            if (beginning.WithoutPicture) writer.Text("first_frame").Bool(false);
            else if (pictured) writer.Text("first_frame").Bytes(beginning.FirstFrame);
            Transmit();
            return lastId;
        }

        /// <summary>Draw no more, until `Play`. Only for a server with the feature `pause`.</summary>
        public void Pause() { SayKind("pause"); }

        public void Play() { SayKind("resume"); }

        void SayKind(string kind)
        {
            writer.Clear();
            writer.Map(2).Text("type").Text("event").Text("kind").Text(kind);
            Transmit();
        }

        long NewId()
        {
            if (outstanding.Count == Outstanding) outstanding.RemoveAt(0);
            outstanding.Add(++lastId);
            return lastId;
        }

        // On a line that is cut it is lost; what steered last is said again.
        void Transmit()
        {
            if (line == null) return;
            try { line.Send(writer.Buffer, writer.Length); } catch (LineClosed) { }
        }

        /// <summary>What came, waiting `waitMs` at most; 0 does not wait.</summary>
        public News Poll(int waitMs)
        {
            try
            {
                return over ? News.Ended : PollOpen(waitMs);
            }
            catch (FormatException error)
            {
                return End("a message that cannot be read: " + error.Message);
            }
        }

        News PollOpen(int waitMs)
        {
            while (true)
            {
                if (receipts.Count > 0)
                {
                    Receipt = receipts.Dequeue();
                    return News.Receipt;
                }
                if (NextFrame()) return News.Frame;
                if (line == null)
                {
                    var news = ComeBack(waitMs);
                    if (news != News.Back) return news;
                    continue;
                }
                try
                {
                    if (!line.Receive(waitMs))
                    {
                        var now = Environment.TickCount;
                        if (waiting && now - saidToWaitAt > StillEveryMs)
                        {
                            saidToWaitAt = now;
                            SayKind("wait");
                        }
                        return now - heardAt > SilentMaxMs ? Lost(1006, "the server has fallen silent") : News.Nothing;
                    }
                    heardAt = Environment.TickCount;
                    var told = Message(line.Message);
                    if (told != News.Nothing) return told;
                }
                catch (LineClosed closed) { return Lost(closed.Code, closed.Reason); }
            }
        }

        bool NextFrame()
        {
            while (left > 0)
            {
                var length = lengths.Count > 0 ? lengths[lengths.Count - left] : 3 * next.Width * next.Height;
                var at = payloadAt;
                payloadAt += length;
                left--;
                if (skip > 0)
                {
                    skip--;
                    if (numbered) next.Index++;
                    continue;
                }
                Frame = next;
                Frame.Data = new Slice(payload, at, length);
                Frame.PtsMs = fps > 0 && numbered ? next.Index * 1000 / fps : -1;
                next.Index++;
                frames = next.Index;
                return true;
            }
            return false;
        }

        bool numbered;

        News Message(Slice message)
        {
            if (headerCame)
            {
                headerCame = false;
                Begin(message);
                return News.Nothing;
            }
            var reader = new MessageReader(message.Buffer, message.Begin, message.Length);
            // A message of a type that is not known may have fields of any form.
            if (!IsKnown(reader)) return News.Nothing;
            Slice type = default(Slice), content = default(Slice), field = default(Slice), reason = default(Slice), sessionToken = default(Slice);
            Slice contentType = default(Slice), bytes = default(Slice);
            long chunk = -1, id = -1, count = 0, total = 0, width = 0, height = 0, first = -1, grace = 0, rate = -1, position = 0;
            bool final = false, hasPayload = false, hasAck = false, hasFirsts = false;
            lengths.Clear();
            applied.Clear();
            firsts.Clear();
            superseded.Clear();
            for (var entries = reader.MapHeader(); entries > 0; entries--)
            {
                var key = reader.Text();
                if (key.Is("type")) type = reader.Text();
                else if (key.Is("chunk_index")) chunk = reader.Integer();
                else if (key.Is("event_id")) id = reader.Integer();
                else if (key.Is("num_frames")) count = reader.Integer();
                else if (key.Is("total_size")) total = reader.Integer();
                else if (key.Is("width")) width = reader.Integer();
                else if (key.Is("height")) height = reader.Integer();
                else if (key.Is("first_frame_index")) first = reader.Integer();
                else if (key.Is("is_final_frame_batch")) final = reader.Integer() == 1;
                else if (key.Is("content_type")) contentType = reader.Text();
                else if (key.Is("payload_lengths")) for (var items = reader.ListHeader(); items > 0; items--) lengths.Add(checked((int)reader.Integer()));
                else if (key.Is("payload")) { bytes = reader.Text(); hasPayload = true; }
                else if (key.Is("resume_token")) sessionToken = reader.Text();
                else if (key.Is("grace_ms")) grace = reader.Integer();
                else if (key.Is("fps")) rate = reader.Integer();
                else if (key.Is("position")) position = reader.Integer();
                else if (key.Is("features")) ReadFeatures(ref reader, out hasAck, out hasFirsts);
                else if (key.Is("applied")) ReadApplied(ref reader);
                else if (key.Is("superseded")) for (var items = reader.ListHeader(); items > 0; items--) superseded.Add(reader.Integer());
                else if (key.Is("content")) content = reader.Text();
                else if (key.Is("details"))
                {
                    for (var parts = reader.MapHeader(); parts > 0; parts--)
                    {
                        var part = reader.Text();
                        if (part.Is("field")) field = reader.Text();
                        else if (part.Is("reason")) reason = reader.Text();
                        else reader.Skip();
                    }
                }
                else reader.Skip();
            }
            var isHeader = type.Is("frame_batch_header");
            if (isHeader || type.Is("frame_batch"))
            {
                waiting = false;
                Take(chunk, id, count, total, width, height, first, final, contentType.Is("application/x-raw-rgb"));
                if (hasPayload) Begin(bytes);
                else if (isHeader) headerCame = true;
                else throw new FormatException("frames without bytes");
            }
            else if (type.Is("event_applied") || type.Is("event_ack") && !hasReceipts)
            {
                for (var i = 0; i < applied.Count; i++) Settle(applied[i], chunk, false, firsts[i]);
                foreach (var one in superseded) Settle(one, chunk, true, -1);
            }
            else if (type.Is("session")) return Hello(sessionToken.ToString(), grace);
            else if (type.Is("init_ack"))
            {
                acks = hasAck || hasFirsts;
                hasReceipts = hasFirsts;
                fps = rate;
                waiting = false;
            }
            else if (type.Is("watching")) fps = rate;
            else if (type.Is("queue"))
            {
                if (!waiting) saidToWaitAt = Environment.TickCount;
                waiting = true;
                Position = position;
                return News.Waiting;
            }
            else if (type.Is("error"))
            {
                Why = content + (reason.Length > 0 ? " (" + field + ": " + reason + ")" : "");
                if (id < 0 && !content.Is("invalid event")) return End(Why);
                outstanding.Remove(id);
                return News.Refused;
            }
            return News.Nothing;
        }

        static readonly string[] Types = { "frame_batch", "frame_batch_header", "event_ack", "event_applied", "session", "init_ack", "watching", "queue", "error" };

        static bool IsKnown(MessageReader reader)
        {
            for (var entries = reader.MapHeader(); entries > 0; entries--)
            {
                if (!reader.Text().Is("type")) { reader.Skip(); continue; }
                var type = reader.Text();
                foreach (var known in Types) if (type.Is(known)) return true;
                return false;
            }
            return false;
        }

        static void ReadFeatures(ref MessageReader reader, out bool hasAck, out bool hasFirsts)
        {
            hasAck = hasFirsts = false;
            for (var items = reader.ListHeader(); items > 0; items--)
            {
                var name = reader.Text();
                hasAck |= name.Is("ack");
                hasFirsts |= name.Is("receipts");
            }
        }

        // Of event_applied: maps of an event and its first frame. Of event_ack: ids.
        void ReadApplied(ref MessageReader reader)
        {
            for (var items = reader.ListHeader(); items > 0; items--)
            {
                long id = -1, first = -1;
                if (!reader.IsMap) id = reader.Integer();
                else
                {
                    for (var entries = reader.MapHeader(); entries > 0; entries--)
                    {
                        var key = reader.Text();
                        if (key.Is("event_id")) id = reader.Integer();
                        else if (key.Is("first_frame_index")) first = reader.Integer();
                        else reader.Skip();
                    }
                }
                applied.Add(id);
                firsts.Add(first);
            }
        }

        // The header of some frames.
        void Take(long chunk, long id, long count, long total, long width, long height, long first, bool final, bool isRaw)
        {
            long sum = 0;
            foreach (var length in lengths) sum += length;
            if (lengths.Count == 0) sum = checked(3 * width * height * count);
            else if (lengths.Count != count) throw new FormatException("frames without one length each");
            if (sum != total) throw new FormatException("the payload is not as long as its header says");
            if (chunk != arriving)
            {
                arriving = chunk;
                came = given = 0;
            }
            isFinal = final;
            numbered = first >= 0;
            next = new Frame { IsRaw = isRaw, Width = (int)width, Height = (int)height, Chunk = chunk, EventId = id, Index = numbered ? first : frames };
            announced = (int)count;
            announcedBytes = total;
            // All who steer share one count of events.
            lastId = Math.Max(lastId, id);
            if (!acks && id >= 0) while (outstanding.Count > 0 && outstanding[0] <= id) Settle(outstanding[0], chunk, false, -1);
        }

        int announced;
        long announcedBytes;
        bool isFinal;

        // Its payload has come.
        void Begin(Slice bytes)
        {
            if (bytes.Length != announcedBytes) throw new FormatException("the payload is not as long as its header says");
            payload = bytes.Buffer;
            payloadAt = bytes.Begin;
            left = announced;
            // A chunk that was cut comes again from its beginning: some of it was handed out before.
            skip = (int)Math.Max(0, Math.Min(left, given - came));
            came += left;
            given = Math.Max(given, came);
            if (isFinal) whole = arriving;
        }

        void Settle(long id, long chunk, bool replaced, long first)
        {
            seen = Math.Max(seen, id);
            // A chunk that comes again is acknowledged again.
            if (outstanding.Remove(id)) receipts.Enqueue(new Receipt { EventId = id, Chunk = chunk, Superseded = replaced, FirstFrame = first });
        }

        News Hello(string newToken, long grace)
        {
            token = newToken;
            graceMs = grace;
            if (!lost) return News.Nothing;
            lost = false;
            Resumes++;
            came = 0;
            // What steered last may have been lost with the line.
            if (heldId > seen) SayHeld();
            if (promptId > seen) SayPrompt();
            return News.Back;
        }

        News Lost(int code, string reason)
        {
            line.Dispose();
            line = null;
            headerCame = false;
            left = 0;
            if (code == 1000 && reason == "generation complete")
            {
                over = true;
                Why = reason;
                return News.Complete;
            }
            var broke = code == 1001 || code == 1005 || code == 1006 || reason == "keepalive ping timeout";
            if (token == null || !broke) return End("closed with " + code + ": " + reason);
            var wasLost = lost;
            if (!lost) lostAt = Environment.TickCount;
            lost = true;
            triedAt = Environment.TickCount - ReturnEveryMs;
            return wasLost ? News.Nothing : News.Away;
        }

        // Connecting is done by a thread, so that a game's loop does not wait for it.
        News ComeBack(int waitMs)
        {
            if (returned != null)
            {
                line = returned;
                returned = null;
                heardAt = Environment.TickCount;
                writer.Clear();
                writer.Map(start.Key == null ? 3 : 4).Text("type").Text("resume").Text("token").Text(token).Text("last_chunk");
                if (whole < 0) writer.Nil();
                else writer.Integer((ulong)whole);
                if (start.Key != null) writer.Text("api_key").Text(start.Key);
                Transmit();
                return News.Back;
            }
            var now = Environment.TickCount;
            if (!attempting && now - lostAt > graceMs) return End("the line broke, and the server could not be reached again in time");
            if (!attempting && now - triedAt >= ReturnEveryMs)
            {
                triedAt = now;
                attempting = true;
                returning = new Thread(Attempt) { IsBackground = true, Name = "causeway resume" };
                returning.Start();
            }
            Thread.Sleep(Math.Min(waitMs, 5));
            return News.Nothing;
        }

        void Attempt()
        {
            try { returned = Connect(); }
            catch (Exception error)
            {
                if (!(error is LineClosed || error is System.Net.Sockets.SocketException)) throw;
            }
            finally { attempting = false; }
        }

        News End(string why)
        {
            over = true;
            Why = why;
            return News.Ended;
        }

        /// <summary>End the walk.</summary>
        public void Dispose()
        {
            over = true;
            if (line != null) line.Dispose();
            if (returning != null) returning.Join();
            if (returned != null) returned.Dispose();
        }
    }
}
