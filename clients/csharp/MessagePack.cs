// MessagePack read in place and written into a buffer that is used again: nothing is allocated for a message.

using System;
using System.Text;

namespace Causeway
{
    /// <summary>Reads values from a buffer, one after the other. A message that ends early is a FormatException.</summary>
    public struct MessageReader
    {
        readonly byte[] buffer;
        readonly int end;

        /// <summary>Where the next value begins.</summary>
        public int At;

        public MessageReader(byte[] buffer, int begin, int length)
        {
            this.buffer = buffer;
            At = begin;
            end = begin + length;
        }

        int Take(int length)
        {
            if (length < 0 || length > end - At) throw new FormatException("a MessagePack value ends early");
            var begin = At;
            At += length;
            return begin;
        }

        byte Marker() { return buffer[Take(1)]; }

        long Big(int width)
        {
            var begin = Take(width);
            long number = 0;
            for (var i = 0; i < width; i++) number = number << 8 | buffer[begin + i];
            return number;
        }

        /// <summary>Whether the next value is a map.</summary>
        public bool IsMap { get { return At < end && ((buffer[At] & 0xf0) == 0x80 || buffer[At] == 0xde || buffer[At] == 0xdf); } }

        /// <summary>How many entries follow of a map. FormatException where it is none.</summary>
        public int MapHeader()
        {
            var marker = Marker();
            if ((marker & 0xf0) == 0x80) return marker & 0x0f;
            if (marker == 0xde) return (int)Big(2);
            if (marker == 0xdf) return checked((int)Big(4));
            throw new FormatException("not a map");
        }

        /// <summary>How many items follow of a list; a nil has none.</summary>
        public int ListHeader()
        {
            var marker = Marker();
            if ((marker & 0xf0) == 0x90) return marker & 0x0f;
            if (marker == 0xdc) return (int)Big(2);
            if (marker == 0xdd) return checked((int)Big(4));
            if (marker == 0xc0) return 0;
            throw new FormatException("not a list");
        }

        /// <summary>An integer, or a float without a fraction; -1 for nil.</summary>
        public long Integer()
        {
            var marker = Marker();
            if (marker < 0x80) return marker;
            if (marker >= 0xe0) return (sbyte)marker;
            switch (marker)
            {
                case 0xc0: return -1;
                case 0xc2: return 0;
                case 0xc3: return 1;
                case 0xcc: return Big(1);
                case 0xcd: return Big(2);
                case 0xce: return Big(4);
                case 0xcf: case 0xd3: return Big(8);
                case 0xd0: return (sbyte)Big(1);
                case 0xd1: return (short)Big(2);
                case 0xd2: return (int)Big(4);
                case 0xcb: return (long)BitConverter.Int64BitsToDouble(Big(8));
                default: throw new FormatException("not an integer");
            }
        }

        /// <summary>Text or bytes, as they lie in the buffer; nil is empty.</summary>
        public Slice Text()
        {
            var marker = Marker();
            int length;
            if ((marker & 0xe0) == 0xa0) length = marker & 0x1f;
            else if (marker == 0xd9 || marker == 0xc4) length = (int)Big(1);
            else if (marker == 0xda || marker == 0xc5) length = (int)Big(2);
            else if (marker == 0xdb || marker == 0xc6) length = checked((int)Big(4));
            else if (marker == 0xc0) length = 0;
            else throw new FormatException("neither text nor bytes");
            return new Slice(buffer, Take(length), length);
        }

        /// <summary>Pass the next value by, whatever it is.</summary>
        public void Skip()
        {
            var marker = buffer[Take(1)];
            At--;
            if ((marker & 0xf0) == 0x80 || marker == 0xde || marker == 0xdf)
            {
                for (var left = 2L * MapHeader(); left > 0; left--) Skip();
            }
            else if ((marker & 0xf0) == 0x90 || marker == 0xdc || marker == 0xdd)
            {
                for (var left = ListHeader(); left > 0; left--) Skip();
            }
            else if ((marker & 0xe0) == 0xa0 || marker >= 0xd9 && marker <= 0xdb || marker >= 0xc4 && marker <= 0xc6) Text();
            else if (marker == 0xca) Take(5);
            else if (marker == 0xcb) Take(9);
            else if (marker >= 0xc7 && marker <= 0xc9 || marker >= 0xd4 && marker <= 0xd8 || marker == 0xc1)
                throw new FormatException("a value that this protocol does not have");
            else Integer();
        }
    }

    /// <summary>Some bytes of a buffer. Good as long as the buffer is.</summary>
    public struct Slice
    {
        public readonly byte[] Buffer;
        public readonly int Begin;
        public readonly int Length;

        public Slice(byte[] buffer, int begin, int length)
        {
            Buffer = buffer;
            Begin = begin;
            Length = length;
        }

        /// <summary>Whether this is this text, which must be ASCII.</summary>
        public bool Is(string text)
        {
            if (text.Length != Length) return false;
            for (var i = 0; i < Length; i++) if (Buffer[Begin + i] != text[i]) return false;
            return true;
        }

        public override string ToString() { return Length == 0 ? "" : Encoding.UTF8.GetString(Buffer, Begin, Length); }
    }

    /// <summary>Writes one message after the other into the same buffer, which grows to the largest.</summary>
    public sealed class MessageWriter
    {
        public byte[] Buffer = new byte[1024];
        public int Length;

        void Put(int value)
        {
            if (Length == Buffer.Length) Array.Resize(ref Buffer, 2 * Length);
            Buffer[Length++] = (byte)value;
        }

        void Big(ulong value, int width) { for (var shift = 8 * (width - 1); shift >= 0; shift -= 8) Put((int)(value >> shift & 0xff)); }

        public MessageWriter Map(int entries)
        {
            if (entries < 16) Put(0x80 | entries);
            else { Put(0xde); Big((ulong)entries, 2); }
            return this;
        }

        public MessageWriter List(int items)
        {
            if (items < 16) Put(0x90 | items);
            else { Put(0xdc); Big((ulong)items, 2); }
            return this;
        }

        public MessageWriter Nil() { Put(0xc0); return this; }

        public MessageWriter Bool(bool value) { Put(value ? 0xc3 : 0xc2); return this; }

        public MessageWriter Integer(ulong value)
        {
            if (value < 0x80) Put((int)value);
            else if (value < 0x100) { Put(0xcc); Big(value, 1); }
            else if (value < 0x10000) { Put(0xcd); Big(value, 2); }
            else if (value <= uint.MaxValue) { Put(0xce); Big(value, 4); }
            else { Put(0xcf); Big(value, 8); }
            return this;
        }

        public MessageWriter Float(double value)
        {
            Put(0xcb);
            Big((ulong)BitConverter.DoubleToInt64Bits(value), 8);
            return this;
        }

        public MessageWriter Text(string text)
        {
            var length = Encoding.UTF8.GetByteCount(text);
            if (length < 32) Put(0xa0 | length);
            else if (length < 0x100) { Put(0xd9); Big((ulong)length, 1); }
            else if (length < 0x10000) { Put(0xda); Big((ulong)length, 2); }
            else throw new ArgumentException("text of 64 KiB and more cannot be sent");
            Reserve(length);
            Length += Encoding.UTF8.GetBytes(text, 0, text.Length, Buffer, Length);
            return this;
        }

        public MessageWriter Bytes(byte[] bytes)
        {
            Put(0xc6);
            Big((ulong)bytes.Length, 4);
            Reserve(bytes.Length);
            System.Buffer.BlockCopy(bytes, 0, Buffer, Length, bytes.Length);
            Length += bytes.Length;
            return this;
        }

        void Reserve(int bytes) { while (Buffer.Length - Length < bytes) Array.Resize(ref Buffer, 2 * Buffer.Length); }

        public void Clear() { Length = 0; }
    }
}
