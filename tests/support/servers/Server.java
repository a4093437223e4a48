import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.FileWriter;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

/** Answers /STATUS/SIZE on a port, and logs what it answered: `java Server.java LOG PORT`. */
public class Server {
    public static void main(String[] args) throws IOException {
        FileWriter log = new FileWriter(args[0]);
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[1])), 100);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.createContext("/", exchange -> answer(exchange, log));
        server.start();
    }

    private static void answer(HttpExchange exchange, FileWriter log) throws IOException {
        exchange.getRequestBody().readAllBytes();
        String[] parts = exchange.getRequestURI().getPath().split("/");
        int status = Integer.parseInt(parts[1]);
        byte[] body = new byte[Integer.parseInt(parts[2])];
        boolean isHead = exchange.getRequestMethod().equals("HEAD");
        synchronized (log) {
            log.write(exchange.getRequestMethod() + " " + status + "\n");
            log.flush();
        }
        exchange.sendResponseHeaders(status, isHead || body.length == 0 ? -1 : body.length);
        if (!isHead && body.length > 0) {
            exchange.getResponseBody().write(body);
        }
        exchange.close();
    }
}
