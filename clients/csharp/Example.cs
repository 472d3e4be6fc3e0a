using System;
using Causeway;

static class Example
{
    static int Main(string[] arguments)
    {
        using (var walk = new Walk(arguments[0], new Start { Prompt = "a meadow", Format = "jpeg", Width = 96, Height = 64, MaxChunks = 4 }))
        {
            walk.Hold("w");
            while (true)
            {
                var news = walk.Poll(1000);
                if (news == News.Frame) Console.WriteLine(walk.Frame.Chunk + " " + walk.Frame.EventId + " " + walk.Frame.Data.Length + " bytes");
                if (news == News.Complete) return 0;
                if (news == News.Ended) throw new Exception(walk.Why);
            }
        }
    }
}
