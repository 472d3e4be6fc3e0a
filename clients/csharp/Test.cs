// The client against a real server, a line that is cut, and a server that has none of our features. `clients/check.py` starts
// them and says where they are.

using System;
using System.Collections.Generic;
using Causeway;

static class Test
{
    static readonly string Server = Environment.GetEnvironmentVariable("CAUSEWAY_URL");
    static readonly string Cut = Environment.GetEnvironmentVariable("CUT_URL");
    static readonly string Secure = Environment.GetEnvironmentVariable("SECURE_URL");
    static readonly string Reference = Environment.GetEnvironmentVariable("REFERENCE_URL");

    static int Main()
    {
        var failed = 0;
        foreach (var test in new Action[]
        {
            AWalkGivesEveryFrameOnceAndInOrder, AReceiptSaysWhichChunkShowsAnEvent, AWalkGoesOnAfterItsLineWasCut,
            AMistakeNamesItsField, AServerWithoutFeaturesIsWalkedInAsWell, NothingIsAllocatedForAFrame, NobodyThere,
            AnotherVideoBeginsInTheSameWalk, ATokenThatStandsForNothingWatchesNothing, AViewerIsGivenTheFramesOfAWalk,
            OverTlsACertificateMustBeTrusted,
        })
        {
            try
            {
                test();
                Console.WriteLine("ok  " + test.Method.Name);
            }
            catch (Exception error)
            {
                Console.WriteLine("not ok  " + test.Method.Name + ": " + error);
                failed++;
            }
        }
        return failed;
    }

    static void Check(bool isSo, string what) { if (!isSo) throw new Exception(what); }

    static Walk Small(string url, int chunks, string format = "raw")
    {
        return new Walk(url, new Start { Prompt = "a meadow", Format = format, Width = 96, Height = 64, MaxChunks = chunks });
    }

    // The next frame; null after the last chunk.
    static Frame? Next(Walk walk, Action<News> otherwise = null)
    {
        for (var end = Environment.TickCount + 30000; ; )
        {
            var news = walk.Poll(100);
            if (news == News.Frame) return walk.Frame;
            if (news == News.Complete) return null;
            if (news == News.Ended) throw new Exception(walk.Why);
            if (otherwise != null) otherwise(news);
            Check(Environment.TickCount < end, "no frame came");
        }
    }

    static List<ulong> Sums(Walk walk)
    {
        var sums = new List<ulong>();
        for (Frame? frame; (frame = Next(walk)) != null; )
        {
            Check(frame.Value.Index == sums.Count, "frame " + frame.Value.Index + " after " + sums.Count);
            ulong sum = 14695981039346656037;
            var data = frame.Value.Data;
            for (var i = 0; i < data.Length; i++) sum = (sum ^ data.Buffer[data.Begin + i]) * 1099511628211;
            sums.Add(sum);
        }
        return sums;
    }

    static void AWalkGivesEveryFrameOnceAndInOrder()
    {
        using (var walk = Small(Server, 3))
        {
            Check(Sums(walk).Count == 33, "33 frames");
            Check(walk.Frame.IsRaw && walk.Frame.Data.Length == 96 * 64 * 3 && walk.Frame.PtsMs == 2000, "the last frame: " + walk.Frame.PtsMs);
        }
    }

    static void AReceiptSaysWhichChunkShowsAnEvent()
    {
        using (var walk = Small(Server, 0, "jpeg"))
        {
            var first = walk.Prompt("by night");
            var second = walk.Prompt("by day");
            var held = walk.Hold("wl");
            var receipts = new Dictionary<long, Receipt>();
            var shown = long.MaxValue;
            // The first chunk is drawn with the first prompt, so the others come later than the keys.
            while (receipts.Count < 3 || shown == long.MaxValue)
            {
                var frame = Next(walk, news => { if (news == News.Receipt) receipts[walk.Receipt.EventId] = walk.Receipt; });
                if (frame.Value.EventId == held) shown = Math.Min(shown, frame.Value.Chunk);
            }
            Check(receipts[held].Chunk == shown && !receipts[held].Superseded, "held");
            Check(receipts[first].Superseded && !receipts[second].Superseded, "prompts");
            Check(receipts[held].FirstFrame >= 0 && receipts[first].FirstFrame == -1, "first frames");
            var led = walk.Rates(0.5, 0, -0.25, 0);
            Receipt? answered = null;
            while (answered == null) Next(walk, news => { if (news == News.Receipt && walk.Receipt.EventId == led) answered = walk.Receipt; });
            walk.Pose(new double[16]);
            var refused = "";
            while (refused == "") Next(walk, news => { if (news == News.Refused) refused = walk.Why; });
            Check(refused.Contains("pose"), refused);
        }
    }

    static void AWalkGoesOnAfterItsLineWasCut()
    {
        List<ulong> whole, again;
        using (var walk = Small(Server, 4)) whole = Sums(walk);
        using (var walk = Small(Cut, 4))
        {
            again = Sums(walk);
            Check(walk.Resumes > 0, "the line was not cut");
        }
        Check(whole.Count == 45 && string.Join(" ", whole) == string.Join(" ", again), "other frames after a cut");
    }

    static void AnotherVideoBeginsInTheSameWalk()
    {
        using (var walk = Small(Server, 0, "jpeg"))
        {
            Next(walk);
            walk.Reset(new Beginning { Prompt = "snow", Width = 64, Height = 48, Seed = 7 });
            Frame? frame;
            do frame = Next(walk); while (frame.Value.Width != 64);
            Check(frame.Value.Index == 0 && frame.Value.Height == 48, "the first frame of the next video: " + frame.Value.Index);
            walk.Reset(new Beginning { Width = 1280, Height = 720 });
            var refused = "";
            while (refused == "") Next(walk, news => { if (news == News.Refused) refused = walk.Why; });
            Check(refused.Contains("size"), refused);
        }
    }

    static void ATokenThatStandsForNothingWatchesNothing()
    {
        using (var walk = Walk.Watch(Server, "cwv_nobody"))
        {
            News news;
            while ((news = walk.Poll(1000)) == News.Nothing) { }
            Check(news == News.Ended && walk.Why.Contains("token"), news + " " + walk.Why);
        }
    }

    // This client has no wish to be watched itself: `clients/check.py` plays, and says the token.
    static void AViewerIsGivenTheFramesOfAWalk()
    {
        using (var walk = Walk.Watch(Server, Environment.GetEnvironmentVariable("VIEW_TOKEN"), "webp"))
        {
            var first = Next(walk).Value;
            Check(!first.IsRaw && first.Width == 96 && first.PtsMs >= 0, "a frame of the player");
            walk.Hold("w");
            var refused = "";
            while (refused == "") Next(walk, news => { if (news == News.Refused) refused = walk.Why; });
            Check(refused.Contains("a viewer cannot"), refused);
        }
    }

    static void OverTlsACertificateMustBeTrusted()
    {
        try
        {
            new Walk(Secure, new Start { Prompt = "a meadow" }).Dispose();
            throw new Exception("nobody vouches for the certificate");
        }
        catch (LineClosed closed) { Check(closed.Message.Contains("TLS"), closed.Message); }
        var start = new Start { Prompt = "a meadow", Width = 96, Height = 64, MaxChunks = 3, Trust = (sender, certificate, chain, errors) => certificate.Subject == "CN=localhost" };
        List<ulong> whole;
        using (var walk = Small(Server, 3)) whole = Sums(walk);
        using (var walk = new Walk(Secure, start)) Check(string.Join(" ", Sums(walk)) == string.Join(" ", whole), "the same frames over TLS");
    }

    static void AMistakeNamesItsField()
    {
        using (var walk = new Walk(Server, new Start { Fps = 1000 }))
        {
            News news;
            while ((news = walk.Poll(1000)) == News.Nothing) { }
            Check(news == News.Ended && walk.Why.Contains("fps"), news + " " + walk.Why);
        }
    }

    static void AServerWithoutFeaturesIsWalkedInAsWell()
    {
        using (var walk = Small(Reference, 6))
        {
            var held = walk.Hold("w");
            walk.Pause();
            long shown = long.MaxValue;
            var refused = 0;
            Action<News> hear = news =>
            {
                if (news == News.Receipt) { Check(walk.Receipt.EventId == held, "a receipt"); shown = walk.Receipt.Chunk; }
                if (news == News.Refused) { Check(walk.Why == "invalid event", walk.Why); refused++; }
            };
            var frames = 0;
            for (Frame? frame; (frame = Next(walk, hear)) != null; frames++)
            {
                // Its red counts the keys held.
                Check(frame.Value.Chunk < shown || frame.Value.Data.Buffer[frame.Value.Data.Begin] == 40, "W is held");
                Check(frame.Value.PtsMs == -1, "no time");
            }
            Check(frames == 69 && refused == 1 && shown < 6, frames + " frames, " + refused + " refused, " + shown);
        }
    }

    static void NothingIsAllocatedForAFrame()
    {
        var allocated = typeof(GC).GetMethod("GetAllocatedBytesForCurrentThread");
        Check(allocated != null, "this runtime does not count allocations");
        var count = (Func<long>)Delegate.CreateDelegate(typeof(Func<long>), allocated);
        foreach (var format in new[] { "jpeg", "raw" })
        {
            using (var walk = Small(Server, 0, format))
            {
                for (var i = 0; i < 60; ) if (walk.Poll(1000) == News.Frame) i++;
                var before = count();
                for (var i = 0; i < 120; ) if (walk.Poll(1000) == News.Frame) i++;
                var made = count() - before;
                Check(made == 0, made + " bytes for 120 frames of " + format);
            }
        }
    }

    static void NobodyThere()
    {
        try { new Walk("ws://127.0.0.1:9/v1/realtime_video", new Start()).Dispose(); }
        catch (Exception error) when (error is LineClosed || error is System.Net.Sockets.SocketException) { return; }
        throw new Exception("nobody listens there");
    }
}
